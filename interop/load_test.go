//go:build unix

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wsticket/wsticket"
)

// The client of BenchmarkUpgradeTCP is this program again, and never gets to main.
func init() {
	if os.Getenv(loadVariable) == "" {
		return
	}
	if err := clientLoad(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inFlight is how many handshakes the client has going at once, each on a thread
// of its own that blocks.
const inFlight = 8

var loadClaims = wsticket.Claims{Subject: "user-4711", Audiences: []string{"wss://gw.example"}, SessionID: "s-1795219100"}

// clientLoad does what the benchmark asks for until it has no more to ask.
func clientLoad(in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(inFlight + 1) // a thread that waits for an answer keeps its place
	debug.SetGCPercent(-1)           // and collects while it mints only
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	var setup loadSetup
	if err := questions.Decode(&setup); err != nil {
		return err
	}
	keyring, err := wsticket.ParseKeyring(setup.JWKS)
	if err != nil {
		return err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keyring})
	if err != nil {
		return err
	}
	var to netip.AddrPort
	var requests [][]byte
	for {
		var step loadStep
		if err := questions.Decode(&step); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r loadResult
		if step.Addr != "" {
			to, err = netip.ParseAddrPort(step.Addr)
			requests = nil
			for len(requests) < step.N && err == nil {
				var ticket string
				ticket, err = signer.Sign(&loadClaims)
				requests = append(requests, fmt.Appendf(nil, chromeHead, ticket, step.Addr, step.Addr))
			}
			runtime.GC()
		} else {
			r.Took, err = fire(to, requests)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
}

// chromeHead is a handshake as Chrome sends it.
const chromeHead = "GET /rooms/7?ticket=%s HTTP/1.1\r\n" +
	"Host: %s\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://%s\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: theme=dark; consent=necessary\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

// fire sends each request over a connection of its own.
func fire(to netip.AddrPort, requests [][]byte) (time.Duration, error) {
	var next atomic.Int64
	var threads sync.WaitGroup
	errs := make([]error, inFlight)
	start := time.Now()
	for i := range errs {
		threads.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			peer := &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
			buf := make([]byte, 4096)
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(requests) {
					return
				}
				errs[i] = shake(peer, requests[n], buf)
			}
		})
	}
	threads.Wait()
	return time.Since(start), errors.Join(errs...)
}

// shake is one handshake. It ends with a reset, so that no port stays taken.
func shake(peer *syscall.SockaddrInet4, request, buf []byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0) // nobody forks here
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 10}); err != nil {
		return err
	}
	if err := syscall.Connect(fd, peer); err != nil {
		return err
	}
	if n, err := syscall.Write(fd, request); err != nil || n < len(request) {
		return fmt.Errorf("wrote %d of %d bytes: %w", n, len(request), err)
	}
	got := 0
	for got < len(buf) {
		n, err := syscall.Read(fd, buf[got:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("the answer ends after %q: %w", buf[:got], err)
		}
		if got += n; bytes.HasSuffix(buf[:got], []byte("\r\n\r\n")) {
			break
		}
	}
	if !bytes.HasPrefix(buf[:got], []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("the answer is %q", buf[:got])
	}
	return nil
}
