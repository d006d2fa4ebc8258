package gateway

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// This is a fuzzing client. It plays random scripts of frames, good and bad ones, with
// a backend that answers them, once directly and once through the gateway. What both
// ends see must be the same. A script that shows a difference is made shorter until
// nothing can be left out of it, and printed.

// An act is one frame, or what looks like one.
type act struct {
	Server  bool // of the backend, behind as many frames of the client as After says
	After   int
	Op      byte
	Fin     bool
	RSV     byte
	Bare    bool // a frame of the client without a mask
	Deflate bool // the payload is compressed
	Size    int  // of the payload, before it is compressed
	Code    int  // of a close frame, 0 for none
	Pieces  int  // it is written in so many
	Cut     bool // it ends in the middle, and so does the connection
}

// A script is what both ends do, and what they offer each other.
type script struct {
	Acts       []act
	Protocols  string
	Extensions string
}

func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "protocols %q, extensions %q\n", s.Protocols, s.Extensions)
	for _, a := range s.Acts {
		fmt.Fprintf(&b, "\t%+v\n", a)
	}
	return b.String()
}

// edges are the sizes at which the head of a frame changes, and those of the buffers on
// the way.
var edges = []int{0, 1, 2, 124, 125, 126, 127, 128, 4095, 4096, 8191, 8192, 8193, 32767, 32768, 65534, 65535, 65536, 65537, 131072}

func randomScript(r *rand.Rand, most int) script {
	s := script{
		Protocols:  []string{"", "app.v1", "app.v1, app.v2", "app.v2"}[r.IntN(4)],
		Extensions: []string{"", "permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover, x-other"}[r.IntN(4)],
	}
	clients := 0
	for range 1 + r.IntN(30) {
		a := act{Server: r.IntN(3) == 0, Fin: true, Pieces: 1}
		switch r.IntN(10) {
		case 0, 1, 2:
			a.Op = 1
		case 3, 4, 5:
			a.Op = 2
		case 6: // a fragment
			a.Op, a.Fin = byte(r.IntN(3)), r.IntN(2) == 0
		case 7:
			a.Op = 9 + byte(r.IntN(2))
		case 8: // what no peer should send
			a.Op, a.RSV, a.Fin, a.Bare = byte(r.IntN(16)), byte(r.IntN(8)), r.IntN(2) == 0, r.IntN(4) == 0
			if a.Op == 8 {
				a.Op = 11
			}
		case 9:
			a.Op, a.RSV, a.Deflate = 1+byte(r.IntN(2)), 4, true
		}
		switch r.IntN(6) {
		case 0:
			a.Size = edges[r.IntN(len(edges))]
		case 1:
			a.Size = r.IntN(most)
		default:
			a.Size = r.IntN(200)
		}
		if a.Op >= 8 && a.RSV == 0 {
			a.Size %= 126
		}
		if r.IntN(4) == 0 {
			a.Pieces = 1 + r.IntN(5)
		}
		if a.Server {
			a.After = r.IntN(clients + 1)
			a.Bare = false
		} else {
			clients++
		}
		s.Acts = append(s.Acts, a)
	}
	// How it ends: by a close frame of one side with a code or without, by an end
	// without one, in the middle of a frame.
	end := act{Op: 8, Fin: true, Pieces: 1, Server: r.IntN(3) == 0, After: clients}
	switch r.IntN(5) {
	case 0:
	case 1:
		return s
	case 2:
		end = act{Op: 2, Fin: true, Size: 500, Pieces: 1, Cut: true}
	default:
		end.Code, end.Size = []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1005, 0xffff}[r.IntN(15)], 2+r.IntN(124)
	}
	s.Acts = append(s.Acts, end)
	return s
}

// bytes are what an act puts on the wire.
func (a act) bytes(n int) []byte {
	payload := make([]byte, a.Size)
	if a.Op == 1 { // text, with letters of one to four bytes
		payload = payload[:0]
		for i := 0; len(payload) < a.Size; i++ {
			payload = append(payload, []string{"a", "é", "€", "😀"}[(i*7+n)%4]...)
		}
	} else {
		for i := range payload {
			payload[i] = byte(i*i>>3 + n)
		}
	}
	if a.Code != 0 {
		binary.BigEndian.PutUint16(payload, uint16(a.Code))
		copy(payload[2:], strings.Repeat("reason ", 20))
	}
	if a.Deflate {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, 1)
		w.Write(payload)
		w.Flush()
		payload = bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
	}
	first := a.Op | a.RSV<<4
	if a.Fin {
		first |= 0x80
	}
	mask := !a.Server && !a.Bare
	wire := appendHead(nil, first, len(payload), mask)
	if mask {
		key := [4]byte{byte(n), 0x5a, 0xff, byte(a.Size)}
		wire = append(wire, key[:]...)
		for i, c := range payload {
			wire = append(wire, c^key[i&3])
		}
	} else {
		wire = append(wire, payload...)
	}
	if a.Cut {
		wire = wire[:len(wire)/2]
	}
	return wire
}

func appendHead(wire []byte, first byte, size int, mask bool) []byte {
	wire = append(wire, first)
	bit := byte(0)
	if mask {
		bit = 0x80
	}
	switch {
	case size < 126:
		return append(wire, byte(size)|bit)
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(wire, 126|bit), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(wire, 127|bit), uint64(size))
}

func write2(conn io.Writer, wire []byte, pieces int) error {
	for i := range pieces {
		if _, err := conn.Write(wire[len(wire)*i/pieces : len(wire)*(i+1)/pieces]); err != nil {
			return err
		}
	}
	return nil
}

const hangs = "hangs"

// seen is what one end saw.
type seen struct {
	handshake string
	frames    []string
	end       string
}

func (s *seen) String() string {
	return s.handshake + "\n" + strings.Join(s.frames, "\n") + "\n" + s.end
}

// readFrame returns a frame as it came, its head and its payload.
func readFrame(r *bufio.Reader) (head, payload []byte, err error) {
	head = make([]byte, 2, 14)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, nil, err
	}
	size, more := uint64(head[1]&0x7f), 0
	switch size {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if head[1]&0x80 != 0 {
		more += 4
	}
	head = head[:2+more]
	if _, err := io.ReadFull(r, head[2:]); err != nil {
		return nil, nil, io.ErrUnexpectedEOF
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		size = binary.BigEndian.Uint64(head[2:])
	}
	payload = make([]byte, size)
	if n, err := io.ReadFull(r, payload); err != nil {
		return head, payload[:n], io.ErrUnexpectedEOF
	}
	return head, payload, nil
}

func (s *seen) note(head, payload []byte) {
	sum := sha256.Sum256(payload)
	s.frames = append(s.frames, fmt.Sprintf("%x %d %x", head, len(payload), sum[:6]))
}

// watch reads frames until the end. each may be nil.
func (s *seen) watch(r *bufio.Reader, each func(head, payload []byte) bool) {
	for {
		head, payload, err := readFrame(r)
		if head != nil {
			s.note(head, payload)
		}
		if err != nil {
			s.end = "ends with " + err.Error()
			switch {
			case isTimeout(err):
				s.end = hangs
			case errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset"):
				s.end = "broken"
			}
			return
		}
		if each != nil && !each(head, payload) {
			s.end = "ends with a close frame"
			io.Copy(io.Discard, r)
			return
		}
	}
}

// A stage is where scripts are played: a backend, and a gateway in front of it.
type stage struct {
	*world
	tls     bool
	mu      sync.Mutex
	scripts map[string]script
	backs   map[string]chan *seen
	next    int
}

func newStage(t *testing.T, kind string) *stage {
	s := &stage{scripts: map[string]script{}, backs: map[string]chan *seen{}, tls: kind == "tls"}
	var roots *x509.CertPool
	s.world = newWorld(t, func(c *Config) {
		c.Protocols = []string{"app.v1"}
		switch kind {
		case "tls":
			c.TLSCert, c.TLSKey = selfSigned(t)
		case "unix":
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(s.serve)}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			c.Upstream = "unix:" + socket
		case "https":
			server := httptest.NewTLSServer(http.HandlerFunc(s.serve))
			t.Cleanup(server.Close)
			c.Upstream = server.URL
			roots = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		}
	})
	if roots != nil {
		_, err := s.dial("/ws?ticket="+s.ticket(wsticket.Claims{}), nil)
		s.wantStatus(err, 502) // its certificate is nobody's that is known
		s.g.state.Load().upstream.tls.RootCAs = roots
	}
	s.backend.upgrade = s.serve
	return s
}

// selfSigned writes the certificate of package httptest.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert, key
}

// serve plays the backend: it sends data back, answers pings and closes, and has acts
// of its own.
func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("script")
	s.mu.Lock()
	play, back := s.scripts[id], s.backs[id]
	s.mu.Unlock()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	got := &seen{handshake: strings.Join(r.Header["Sec-Websocket-Protocol"], ",") + "|" + strings.Join(r.Header["Sec-Websocket-Extensions"], ",")}
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Backend: 1\r\nSec-WebSocket-Accept: " + acceptFor(r.Header.Get("Sec-WebSocket-Key")) + "\r\n"
	if offered := tokens(r.Header["Sec-Websocket-Protocol"]); len(offered) > 0 {
		answer += "Sec-WebSocket-Protocol: " + offered[len(offered)-1] + "\r\n"
	}
	if offered := tokens(r.Header["Sec-Websocket-Extensions"]); len(offered) > 0 {
		answer += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
	}
	io.WriteString(conn, answer+"\r\n")
	frames := 0
	own := func() bool {
		for i, a := range play.Acts {
			if a.Server && a.After == frames {
				if write2(conn, a.bytes(i), a.Pieces) != nil || a.Op == 8 {
					return false
				}
			}
		}
		return true
	}
	if own() {
		got.watch(rw.Reader, func(head, payload []byte) bool {
			if head[1]&0x80 != 0 {
				key := head[len(head)-4:]
				for i := range payload {
					payload[i] ^= key[i&3]
				}
			}
			first := head[0]
			if first&0xf == 9 {
				first++
			}
			wire := append(appendHead(nil, first, len(payload), false), payload...)
			if write2(conn, wire, 1) != nil || first&0xf == 8 {
				return false
			}
			frames++
			return own()
		})
	} else {
		io.Copy(io.Discard, rw)
	}
	back <- got
}

// play runs a script against addr and returns what client and backend saw.
func (s *stage) play(addr string, direct bool, play script) (client, backend *seen, err error) {
	s.mu.Lock()
	s.next++
	id := fmt.Sprint(s.next)
	back := make(chan *seen, 1)
	s.scripts[id], s.backs[id] = play, back
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.scripts, id)
		delete(s.backs, id)
		s.mu.Unlock()
	}()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	if s.tls && !direct {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	target := "/ws?script=" + id
	if !direct {
		target += "&ticket=" + s.ticket(wsticket.Claims{})
	}
	head := "GET " + target + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if play.Protocols != "" {
		head += "Sec-WebSocket-Protocol: " + play.Protocols + "\r\n"
	}
	if play.Extensions != "" {
		head += "Sec-WebSocket-Extensions: " + play.Extensions + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: "GET"})
	if err != nil {
		return nil, nil, err
	}
	client = &seen{handshake: fmt.Sprint(response.StatusCode, response.Header["Sec-Websocket-Protocol"], response.Header["Sec-Websocket-Extensions"], response.Header["X-Backend"])}
	go func() {
		for i, a := range play.Acts {
			if a.Server {
				continue
			}
			if write2(conn, a.bytes(i), a.Pieces) != nil || a.Cut {
				break
			}
		}
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	client.watch(reader, nil)
	select {
	case backend = <-back:
	case <-time.After(30 * time.Second):
		return nil, nil, errors.New("the backend's connection does not end")
	}
	return client, backend, nil
}

// differ plays a script both ways and returns how they differ.
func (s *stage) differ(play script) string {
	direct := strings.TrimPrefix(s.backend.URL, "http://")
	client1, backend1, err := s.play(direct, true, play)
	if err != nil {
		return "direct: " + err.Error()
	}
	client2, backend2, err := s.play(s.addr, false, play)
	if err != nil {
		return "through the gateway: " + err.Error()
	}
	for _, pair := range []struct {
		who      string
		one, two *seen
	}{{"client", client1, client2}, {"backend", backend1, backend2}} {
		// Who closes while the other still sends breaks the connection, when exactly is
		// chance; up to there both are the same.
		broken := pair.one.end == "broken" || pair.two.end == "broken"
		for _, a := range play.Acts {
			broken = broken || a.Op == 8 && a.Server || a.Cut
		}
		n := min(len(pair.one.frames), len(pair.two.frames))
		same := pair.one.handshake == pair.two.handshake && slices.Equal(pair.one.frames[:n], pair.two.frames[:n])
		if !broken {
			same = same && pair.one.String() == pair.two.String()
		}
		if !same || pair.one.end == hangs || pair.two.end == hangs {
			return fmt.Sprintf("the %s sees directly\n%v\nand through the gateway\n%v", pair.who, pair.one, pair.two)
		}
	}
	return ""
}

// shrink leaves out of a script what it can while fails still says that it fails.
func shrink(play script, fails func(script) bool) script {
	try := func(change func(*script)) bool {
		next := play
		next.Acts = slices.Clone(play.Acts)
		change(&next)
		if fails(next) {
			play = next
			return true
		}
		return false
	}
	for again, rounds := true, 0; again && rounds < 20; rounds++ {
		again = false
		for size := len(play.Acts) / 2; size >= 1; size /= 2 {
			for at := 0; at+size <= len(play.Acts); {
				if try(func(s *script) { s.Acts = slices.Delete(s.Acts, at, at+size) }) {
					again = true
				} else {
					at += size
				}
			}
		}
		for i := range play.Acts {
			for play.Acts[i].Size > 2 && try(func(s *script) { s.Acts[i].Size /= 2 }) {
				again = true
			}
			if play.Acts[i].Pieces > 1 && try(func(s *script) { s.Acts[i].Pieces = 1 }) {
				again = true
			}
		}
		for _, change := range []func(*script){func(s *script) { s.Protocols = "" }, func(s *script) { s.Extensions = "" }} {
			if play.Protocols != "" || play.Extensions != "" {
				try(change)
			}
		}
	}
	return play
}

// TestFramesPassUnchanged plays random scripts: 60 of small frames, 2,000 of up to 16 MB
// with WSTICKET_SLOW=1. WSTICKET_SEED plays one again.
func TestFramesPassUnchanged(t *testing.T) {
	scripts, most := 60, 70_000
	if os.Getenv("WSTICKET_SLOW") == "1" {
		scripts, most = 2000, 1<<20
	}
	for _, kind := range []string{"tcp", "tls", "unix", "https"} {
		t.Run(kind, func(t *testing.T) {
			s := newStage(t, kind)
			first := uint64(time.Now().UnixNano()) % 1e9
			n := scripts / 4
			if seed := os.Getenv("WSTICKET_SEED"); seed != "" {
				n = 1
				fmt.Sscan(seed, &first)
			}
			for seed := first; seed < first+uint64(n); seed++ {
				play := randomScript(rand.New(rand.NewPCG(seed, 0)), most)
				if difference := s.differ(play); difference != "" {
					least := shrink(play, func(p script) bool { return s.differ(p) != "" })
					t.Fatalf("WSTICKET_SEED=%d: %s\nthe shortest script that differs:\n%s%s", seed, difference, least, s.differ(least))
				}
			}
		})
	}
}

// TestSizes: text, binary and compressed messages of 1 B to 16 MB, whole and in
// fragments with a ping between, both ways.
func TestSizes(t *testing.T) {
	sizes := []int{1, 125, 126, 65535, 65536, 1 << 20}
	if os.Getenv("WSTICKET_SLOW") == "1" {
		sizes = append(sizes, 4<<20+1, 16<<20)
	}
	s := newStage(t, "tcp")
	for _, size := range sizes {
		for _, op := range []byte{1, 2} {
			for _, server := range []bool{false, true} {
				play := script{Extensions: "permessage-deflate", Acts: []act{
					{Server: server, Op: op, Fin: true, Size: size, Pieces: 1},
					{Server: server, Op: op, Fin: true, Size: size, Pieces: 1, RSV: 4, Deflate: true},
					{Server: server, Op: op, Size: size / 2, Pieces: 1},
					{Server: server, Op: 9, Fin: true, Size: 4, Pieces: 1},
					{Server: server, Op: 0, Fin: true, Size: size - size/2, Pieces: 3},
					{Op: 8, Fin: true, Size: 10, Code: 4321, Pieces: 1},
				}}
				if difference := s.differ(play); difference != "" {
					t.Fatalf("%d bytes, opcode %d, of the server %v: %s", size, op, server, difference)
				}
			}
		}
	}
}

// TestShrink: the fuzzing client sees a change of one bit, and finds the frame.
func TestShrink(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	play := randomScript(r, 1000)
	for len(play.Acts) < 10 {
		play = randomScript(r, 1000)
	}
	play.Acts[5] = act{Op: 2, Fin: true, Size: 700, Pieces: 3}
	least := shrink(play, func(p script) bool {
		return slices.ContainsFunc(p.Acts, func(a act) bool { return a.Op == 2 && a.Fin && a.Size >= 300 && !a.Deflate })
	})
	if len(least.Acts) != 1 || least.Acts[0].Size > 600 || least.Acts[0].Pieces != 1 {
		t.Errorf("%v", least)
	}
}

// TestCopyAllocates: a message that passes costs no memory.
func TestCopyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	reader := rawReader(server)
	if reader == nil {
		t.Skip("connections are read otherwise here")
	}
	passed := make(chan int)
	go reader.copyTo(func(b []byte) (int, error) { passed <- len(b); return len(b), nil })
	message := make([]byte, 100)
	if n := testing.AllocsPerRun(200, func() {
		client.Write(message)
		<-passed
	}); n >= 1 {
		t.Errorf("%v allocations a message", n)
	}
}
