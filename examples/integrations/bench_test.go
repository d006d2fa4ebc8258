package integrations

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/lxzan/gws"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/wstickettest"
)

// BenchmarkEcho is one message there and back over loopback TCP, after the same raw
// upgrade: what the library for the frames makes of it.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 64 << 10} {
		for _, frames := range []string{"gobwas", "gws"} {
			b.Run(fmt.Sprintf("size=%d/frames=%s", size, frames), func(b *testing.B) {
				conn := echoServer(b, frames)
				message := ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(make([]byte, size))))
				answer := make([]byte, len(ws.MustCompileFrame(ws.NewBinaryFrame(make([]byte, size)))))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.Write(message); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(conn, answer); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// echoServer returns a connection to an echo, upgraded.
func echoServer(b *testing.B, frames string) net.Conn {
	b.Helper()
	kit := wstickettest.New(b, wsticket.VerifierConfig{})
	connections, err := live.New(live.Config{Since: time.Unix(0, 0)})
	if err != nil {
		b.Fatal(err)
	}
	up, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: kit.Verifier})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		h := new(wsticket.Handshake)
		if frames == "gws" {
			GWS(context.Background(), up, h, gws.NewUpgrader(&gwsEcho{}, nil), connections, conn)
			return
		}
		defer conn.Close()
		if up.Upgrade(context.Background(), conn, h) != nil {
			return
		}
		socket, err := connections.Socket(&h.Ticket, conn)
		if err != nil {
			return
		}
		defer socket.Close()
		for {
			message, op, err := wsutil.ReadClientData(socket)
			if err != nil || wsutil.WriteServerMessage(socket, op, message) != nil {
				return
			}
		}
	}()
	conn, _, _, err := ws.Dial(context.Background(), "ws://"+l.Addr().String()+"/?ticket="+kit.Mint(time.Now(), wsticket.Claims{Subject: "ada"}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
