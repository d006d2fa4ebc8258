package redisguard_test

import (
	"context"
	"log"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/redisguard"
)

// A gateway that shares its tickets with others.
func ExampleNew() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	guard, err := redisguard.New(ctx, redisguard.Config{URL: "redis://localhost:6379"})
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()
	keys, err := wsticket.LoadKeyring("keyring.json")
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: guard})
	if err != nil {
		log.Fatal(err)
	}
	time.Sleep(time.Until(guard.ReadyAt())) // before it listens
	_ = verifier
}

// A node that hears when a session ends, on whatever node that was said.
func ExampleNewBus() {
	bus, err := redisguard.NewBus(context.Background(), redisguard.BusConfig{URL: "redis://localhost:6379"})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	err = bus.Publish(context.Background(), live.Ending{SessionID: "s-1", Cause: live.Ended, At: time.Now().Unix()})
	if err != nil {
		log.Print(err)
	}
}
