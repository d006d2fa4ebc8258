package live

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// pair is a loopback TCP connection, with Nagle's algorithm out of the way.
func pair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	client.SetDeadline(time.Now().Add(20 * time.Second))
	return server, client
}

func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(r, f.Payload)
	}
	return f, err
}

// wantClose reads frames until the server's close frame, which must be well formed.
func wantClose(t *testing.T, client io.ReadWriter, cause Cause) (frames int) {
	t.Helper()
	for {
		f, err := readFrame(client)
		if err != nil {
			t.Errorf("after %d frames: %v", frames, err)
			return frames
		}
		if err := ws.CheckHeader(f.Header, ws.StateClientSide); err != nil {
			t.Errorf("frame %d: %v", frames, err)
			return frames
		}
		if f.Header.OpCode == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(f.Payload)
			if code != ws.StatusCode(cause.CloseCode()) || reason != cause.Reason() {
				t.Errorf("closed with %d %q, want %v", code, reason, cause)
			}
			return frames
		}
		frames++
	}
}

func TestSocket(t *testing.T) {
	d := newDesk(t, Config{})
	server, client := pair(t)
	s, err := d.Socket(d.ticket("ada", "s", time.Time{}), server)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { // an echo as people write it
		defer s.Close()
		for {
			message, op, err := wsutil.ReadClientData(s)
			if err == nil {
				err = wsutil.WriteServerMessage(s, op, message)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := wsutil.WriteClientText(client, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(client); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	began := time.Now()
	d.CloseSession(t.Context(), "s")
	wantClose(t, client, Ended)
	// The client answers, and the server is done at once.
	if err := ws.WriteFrame(client, ws.MaskFrame(ws.NewCloseFrame(nil))); err != nil {
		t.Fatal(err)
	}
	<-ended
	if took := time.Since(began); took > grace/2 {
		t.Errorf("a client that answers kept it for %v", took)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the close frame: %v", err)
	}
	if st := d.Stats(); st.Connections != 0 || st.Removed != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSocketSilentClient: who neither reads nor answers is gone a second later,
// whatever deadlines the application sets.
func TestSocketSilentClient(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "in the middle of a write": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, Config{})
			server, client := net.Pipe()
			s, err := d.Socket(d.ticket("ada", "s", time.Time{}), server)
			if err != nil {
				t.Fatal(err)
			}
			written := make(chan error, 1)
			if busy {
				go func() {
					_, err := s.Write([]byte{0x82, 1, 7})
					written <- err
				}()
				client.Read(make([]byte, 1)) // the Write is under way, and stays so
			}
			began := time.Now()
			if err := d.CloseSession(t.Context(), "s"); err != nil {
				t.Fatal(err)
			}
			for s.Cause() == 0 {
				runtime.Gosched()
			}
			s.SetDeadline(began.Add(time.Hour))
			s.SetReadDeadline(began.Add(time.Hour))
			s.SetWriteDeadline(began.Add(time.Hour))
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Error("it reads")
			}
			if took := time.Since(began); took < grace || took > 5*grace {
				t.Errorf("ended after %v", took)
			}
			if busy {
				if err := <-written; err == nil {
					t.Error("it writes")
				}
			} else if n, err := s.Write([]byte{0x82, 0}); n != 0 || err != error(Ended) {
				t.Errorf("written after the close frame: %d, %v", n, err)
			}
			client.Close()
			s.Close()
		})
	}
}

// TestSocketFrames: the close frame comes between frames, in however many pieces and
// whenever these are written.
func TestSocketFrames(t *testing.T) {
	d := newDesk(t, Config{})
	rng := newRand(3)
	for range 50 {
		server, client := net.Pipe()
		s, err := d.Socket(d.ticket("ada", "s1", time.Time{}), server)
		if err != nil {
			t.Fatal(err)
		}
		var stream bytes.Buffer
		for range 20 {
			size := []int{0, 1, 125, 126, 300, 70_000}[rng.IntN(6)]
			f := ws.NewFrame(ws.OpBinary, true, make([]byte, size))
			if err := ws.WriteFrame(&stream, f); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		cut := rng.IntN(stream.Len())
		wg.Go(func() {
			sent, pieces := 0, stream.Bytes()
			for len(pieces) > 0 {
				n := min(1+rng.IntN(1+rng.IntN(40_000)), len(pieces))
				m, err := s.Write(pieces[:n])
				sent += m
				if err != nil {
					if !errors.As(err, new(Cause)) {
						t.Errorf("after %d bytes: %v", sent, err)
					}
					return
				}
				if pieces = pieces[n:]; sent >= cut && s.Cause() == 0 {
					go s.end(Ended)
				}
			}
			for s.Cause() == 0 {
				runtime.Gosched()
			}
		})
		wantClose(t, client, Ended)
		wg.Wait()
		client.Close()
		s.Close()
	}
}

// TestSocketFarewell: where the application has sent a close frame, there is no other.
func TestSocketFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		server, client := net.Pipe()
		s, err := d.Socket(d.ticket("ada", "s", time.Time{}), server)
		if err != nil {
			t.Fatal(err)
		}
		go s.Write(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "bye"))))
		if f, err := readFrame(client); err != nil || f.Header.OpCode != ws.OpClose {
			t.Fatal(err)
		}
		d.CloseSession(t.Context(), "s")
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("behind the application's close frame: %v", err)
		}
	})
}

func TestSocketRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{MaxPerSubject: 1})
		d.enter(d.ticket("ada", "", time.Time{}))
		server, client := net.Pipe()
		refused := make(chan error)
		go func() {
			_, err := d.Socket(d.ticket("ada", "", time.Time{}), server)
			refused <- err
		}()
		wantClose(t, client, Busy)
		client.Write(make([]byte, 100)) // it is read, so that nothing is reset
		client.Close()
		if err := <-refused; err != ErrLimit {
			t.Error(err)
		}
		go func() {
			defer server.Close()
			server, stays := net.Pipe()
			defer stays.Close()
			go io.Copy(io.Discard, stays)
			began := time.Now()
			Refuse(server, errors.New("of the application")) // a client that stays
			if took := time.Since(began); took != grace {
				t.Errorf("it waits %v", took)
			}
			refused <- nil
		}()
		<-refused
	})
}

// TestRefuseAnswered: a browser answers the close frame and then waits for the end of the
// connection. It is not kept for the whole second.
func TestRefuseAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		go func() {
			header, err := ws.ReadHeader(client)
			if err != nil || header.OpCode != ws.OpClose {
				t.Errorf("%v, %v", header, err)
			}
			said := make([]byte, header.Length)
			io.ReadFull(client, said)
			client.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("it was under way")))))
			client.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(said))))
		}()
		began := time.Now()
		Refuse(server, ErrLimit)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		server.Close()
	})
}
