package gateway

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket/live"
)

// tcpPair returns both ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	deadline := time.Now().Add(20 * time.Second)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	return near, far
}

func masked(f ws.Frame) string { return string(ws.MustCompileFrame(ws.MaskFrame(f))) }

// TestNothingAfterTheEnd: a client whose session has ended gets nothing through to the
// backend any more, but for the rest of a frame and its close frame, however much it
// sends. One that is only sent elsewhere may finish.
func TestNothingAfterTheEnd(t *testing.T) {
	t.Parallel()
	one, two := masked(ws.NewTextFrame([]byte("one"))), masked(ws.NewTextFrame([]byte("two, in two parts")))
	three, four := masked(ws.NewTextFrame([]byte("three"))), masked(ws.NewBinaryFrame(make([]byte, 70_000)))
	ping, bye := masked(ws.NewPingFrame(nil)), masked(ws.NewCloseFrame(ws.NewCloseFrameBody(3000, "")))
	for _, c := range []struct {
		cause       live.Cause
		after, want string // of what the client sends after the end
	}{
		{live.Ended, two[5:] + three + ping + four + bye + three + bye, two[5:] + bye},
		{live.Expired, two[5:] + three, two[5:]},
		{live.Forbidden, two[5:] + bye, two[5:] + bye},
		{live.GoingAway, two[5:] + three + ping + bye, two[5:] + three + ping + bye},
	} {
		client, clientSide := tcpPair(t)
		backend, backendSide := tcpPair(t)
		done := make(chan struct{})
		tun := &tunnel{endings: new(atomic.Uint64), done: func() { close(done) }}
		if !tun.join(clientSide, backendSide, []byte(one), nil) {
			t.Fatal("it does not join")
		}
		io.WriteString(client, two[:5])
		before := make([]byte, len(one)+5)
		if _, err := io.ReadFull(backend, before); err != nil {
			t.Fatal(err)
		}
		tun.endWith(c.cause)
		farewell := closeFrame(c.cause.CloseCode(), c.cause.Reason())
		if got, err := io.ReadAll(client); err != nil || string(got) != string(farewell) {
			t.Errorf("%v: the client gets %q, %v", c.cause, got, err)
		}
		for i := range len(c.after) { // the worst cuts
			if len(c.after) > 1000 {
				io.WriteString(client, c.after)
				break
			}
			io.WriteString(client, c.after[i:i+1])
		}
		client.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(backend); err != nil || string(got) != c.want {
			t.Errorf("%v: the backend gets %d bytes %.60q, %v, want %d", c.cause, len(got), got, err, len(c.want))
		}
		<-done
	}

	// A frame without an end, and a close frame that is none.
	for _, endless := range []string{string([]byte{0x82, 0xff, 0, 0, 0, 16, 0, 0, 0, 0, 1, 2, 3, 4}), string([]byte{0x88, 0xff, 0, 0, 0, 16, 0, 0, 0, 0, 1, 2, 3, 4})} {
		client, clientSide := tcpPair(t)
		backend, backendSide := tcpPair(t)
		done := make(chan struct{})
		tun := &tunnel{endings: new(atomic.Uint64), done: func() { close(done) }}
		if !tun.join(clientSide, backendSide, nil, nil) {
			t.Fatal("it does not join")
		}
		if endless[0] == 0x82 {
			io.WriteString(client, endless)
			io.ReadFull(backend, make([]byte, len(endless)))
		}
		began := time.Now()
		tun.endWith(live.Ended)
		if endless[0] == 0x88 {
			io.WriteString(client, endless)
		}
		go func() {
			for {
				if _, err := client.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}()
		io.Copy(io.Discard, backend)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%x: the backend heard of it for %v", endless[0], took)
		}
		<-done
	}
}

// TestAbandon: who waits at the end of a frame for a close frame is let go when there is
// none after all.
func TestAbandon(t *testing.T) {
	t.Parallel()
	_, clientSide := tcpPair(t)
	_, backendSide := tcpPair(t)
	tun := &tunnel{client: clientSide, upstream: backendSide}
	tun.leaving.Store(true)
	wrote := make(chan error, 1)
	go func() {
		_, err := tun.toClient(ws.MustCompileFrame(ws.NewTextFrame([]byte("the next"))))
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatalf("a frame went out where the close frame is to stand: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	tun.abandon()
	select {
	case err := <-wrote:
		if err == nil {
			t.Error("it says that it wrote")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits on")
	}
}
