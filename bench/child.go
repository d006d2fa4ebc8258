package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// childVariable holds the configuration of a process that is a server of ours.
const childVariable = "WSTICKET_BENCH_SERVER"

// Child makes this process a server, where it was started to be one, and does not return
// then. A program that calls Run calls it first.
func Child() {
	config := os.Getenv(childVariable)
	if config == "" {
		return
	}
	if err := childMain([]byte(config)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type childConfig struct {
	schemeConfig
	Scheme string
	TLS    bool
}

type childAsk struct {
	Mint   int  `json:",omitempty"` // so many tickets
	Settle bool `json:",omitempty"` // collect garbage first
}

type childAnswer struct {
	Addr, Mints string        `json:",omitempty"` // at first: where it listens
	CPU         time.Duration // of the process so far
	RSS         int64         // resident bytes
	Tickets     []string      `json:",omitempty"`
	Error       string        `json:",omitempty"`
}

func childMain(text []byte) error {
	var c childConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	s, err := schemeOf(c.Scheme)
	if err != nil {
		return err
	}
	server, err := s.start(c.schemeConfig)
	if err != nil {
		return err
	}
	first := childAnswer{}
	if server.listens != nil {
		first.Addr, err = whereListens(server.listens)
	} else {
		first.Addr, err = listen(server.serve, c.TLS)
	}
	if err != nil {
		return err
	}
	if server.mints != nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		first.Mints = l.Addr().String()
		go func() { _ = http.Serve(l, server.mints) }()
	}
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(first); err != nil {
		return err
	}
	for asks := json.NewDecoder(os.Stdin); ; {
		var ask childAsk
		if err := asks.Decode(&ask); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a childAnswer
		for range ask.Mint {
			ticket, err := server.mint()
			if err != nil {
				a.Error = err.Error()
				break
			}
			a.Tickets = append(a.Tickets, ticket)
		}
		if ask.Settle {
			runtime.GC()
			debug.FreeOSMemory()
		}
		var err error
		if a.CPU, err = cpuTime(); err != nil {
			return err
		}
		a.RSS, _ = residentOf("self") // 0 where nothing tells
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// listen serves on a port of its own.
func listen(serve func(net.Listener) error, secure bool) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = listener.Addr().String()
	if secure {
		certificate, err := selfSigned()
		if err != nil {
			return "", err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	}
	go func() { _ = serve(listener) }()
	return addr, nil
}

// whereListens runs what listens by itself.
func whereListens(run func(ready func(addr string)) error) (addr string, err error) {
	ready, failed := make(chan string, 1), make(chan error, 1)
	go func() { failed <- run(func(addr string) { ready <- addr }) }()
	select {
	case addr := <-ready:
		return addr, nil
	case err := <-failed:
		return "", err
	}
}

// residentOf is how much memory of a process is in RAM.
func residentOf(pid string) (int64, error) {
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, errUnmeasured
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// A child is a server in a process of its own, so that its CPU time and memory are its
// own too.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	asks    *json.Encoder
	answers *json.Decoder
	addr    string
	mints   string
}

func startChild(ctx context.Context, s *scheme, c schemeConfig, secure bool) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(childConfig{c, s.name, secure})
	if err != nil {
		return nil, err
	}
	p := &child{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(config))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.asks, p.answers = json.NewEncoder(p.in), json.NewDecoder(bufio.NewReader(out))
	var first childAnswer
	if err := p.answers.Decode(&first); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", s.name, err)
	}
	p.addr, p.mints = first.Addr, first.Mints
	return p, nil
}

func (p *child) ask(ask childAsk) (a childAnswer, err error) {
	if err := p.asks.Encode(ask); err != nil {
		return a, err
	}
	if err := p.answers.Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (p *child) stop() {
	p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
