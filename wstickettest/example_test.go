package wstickettest_test

import (
	"fmt"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest"
)

// A test of a gateway mints its tickets itself, at any time, and needs neither a mint
// endpoint nor a keyring file. t is that of the test.
func Example() {
	kit := wstickettest.New(t, wsticket.VerifierConfig{Audiences: []string{"chat"}})
	now := time.Unix(1_795_219_200, 0)

	ticket := kit.Mint(now, wsticket.Claims{Subject: "ada"})
	fmt.Println(kit.Verdict(now, wstickettest.Tamper(ticket)))
	fmt.Println(kit.Verdict(now.Add(time.Minute), ticket))
	fmt.Println(kit.Verdict(now, ticket))
	fmt.Println(kit.Verdict(now, ticket))
	// Output:
	// bad_signature
	// expired
	// ok
	// replayed
}
