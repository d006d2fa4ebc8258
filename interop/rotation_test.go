package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// Rotation under load, with processes: three that mint and three that verify, each
// with a clock of its own and a time of its own at which it loads the keyring, while
// the command line rotates it.

const (
	rotationTTL    = 5 * time.Second
	rotationLeeway = 2 * time.Second
)

// rotationNode is what the test's own executable becomes when this variable is set:
// {"role":…,"keys":…,"every":…,"clock":…}.
const rotationNode = "WSTICKET_TEST_ROTATION_NODE"

type nodeConfig struct {
	Role  string // mint or verify
	Keys  string
	Every time.Duration // between two looks at the keyring
	Clock time.Duration // what this node's clock is ahead by
}

// runRotationNode is a minter or a verifier until its standard input ends. It speaks
// in lines: "ticket T", "gap E", "report E", "health JSON", and for each line
// "KIND T" that it reads, "KIND CODE".
func runRotationNode(config string) error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	keys, err := wsticket.LoadKeyring(c.Keys)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	say := func(kind, text string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, kind, text)
		out.Flush()
	}
	now := func() time.Time { return time.Now().Add(c.Clock) }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: rotationTTL, Leeway: rotationLeeway})
	if err != nil {
		return err
	}
	go keys.Watch(ctx, c.Keys, c.Every, func(err error) { say("report", err.Error()) })

	if c.Role == "mint" {
		go func() {
			for ticker := time.NewTicker(4 * time.Millisecond); ctx.Err() == nil; <-ticker.C {
				if ticket, err := signer.SignAt(now(), &wsticket.Claims{Subject: "ada"}); err != nil {
					say("gap", err.Error())
				} else {
					say("ticket", ticket)
				}
			}
		}()
	}
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{
		PeakPerSecond: 2000, MaxTTL: rotationTTL, Leeway: rotationLeeway, Since: time.Now().Add(-time.Hour)})
	if err != nil {
		return err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay, MaxTTL: rotationTTL, Leeway: rotationLeeway})
	if err != nil {
		return err
	}
	var ticket wsticket.Ticket
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		kind, text, _ := strings.Cut(in.Text(), " ")
		if kind == "health" {
			h := keys.Health()
			fingerprint, _ := keys.Fingerprint()
			line, err := json.Marshal(nodeHealth{h.LoadedAt, h.CheckedAt, h.FailingSince, h.Failures, fmt.Sprint(h.LastError), fingerprint})
			if err != nil {
				return err
			}
			say(kind, string(line))
			continue
		}
		verdict := "ok"
		if err := verifier.RedeemAt(ctx, now(), wsticket.Request{Ticket: []byte(text)}, &ticket); err != nil {
			code, _ := wsticket.CodeOf(err)
			verdict = code.Code() + " " + text
		}
		say(kind, verdict)
	}
	return in.Err()
}

type nodeHealth struct {
	LoadedAt, CheckedAt, FailingSince time.Time
	Failures                          uint64
	LastError, Fingerprint            string
}

// A rotatingFleet is the nodes and what they said.
type rotatingFleet struct {
	t     *testing.T
	nodes []*rotatingNode

	mu       sync.Mutex
	tickets  int             // minted
	kids     map[string]bool // of the keys that signed them
	gaps     []string
	refused  []string // good tickets
	accepted int      // good tickets, by each verifier
	let      []string // tickets of dropped keys that were accepted
	shut     int      // such tickets that were refused
	wrong    []string // such tickets that were refused for another reason
}

type rotatingNode struct {
	nodeConfig
	command *exec.Cmd
	in      io.WriteCloser
	lines   chan string // to its standard input
	ended   chan error

	mu      sync.Mutex
	reports []string
	health  chan nodeHealth
}

func startRotatingFleet(t *testing.T, keys string) *rotatingFleet {
	t.Helper()
	f := &rotatingFleet{t: t, kids: make(map[string]bool)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, clock := range []time.Duration{-time.Second, 0, time.Second} {
		f.nodes = append(f.nodes,
			&rotatingNode{nodeConfig: nodeConfig{"mint", keys, time.Duration(150+300*i) * time.Millisecond, clock}},
			&rotatingNode{nodeConfig: nodeConfig{"verify", keys, time.Duration(900-300*i) * time.Millisecond, -clock}})
	}
	for _, n := range f.nodes { // all of them before one speaks
		n.lines, n.ended, n.health = make(chan string, 1<<16), make(chan error, 1), make(chan nodeHealth, 1)
	}
	for _, n := range f.nodes {
		config, err := json.Marshal(n.nodeConfig)
		if err != nil {
			t.Fatal(err)
		}
		n.command = exec.Command(self)
		n.command.Env = append(os.Environ(), rotationNode+"="+string(config))
		n.command.Stderr = os.Stderr
		if n.in, err = n.command.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := n.command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.command.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.command.Process.Kill() })
		go func() {
			w := bufio.NewWriter(n.in)
			for line := range n.lines {
				w.WriteString(line + "\n")
				if len(n.lines) == 0 {
					w.Flush()
				}
			}
			w.Flush()
			n.in.Close()
		}()
		go func() {
			for in := bufio.NewScanner(out); in.Scan(); {
				kind, text, _ := strings.Cut(in.Text(), " ")
				f.heard(n, kind, text)
			}
			n.ended <- n.command.Wait()
		}()
	}
	return f
}

func (f *rotatingFleet) heard(n *rotatingNode, kind, text string) {
	switch kind {
	case "report":
		n.mu.Lock()
		n.reports = append(n.reports, text)
		n.mu.Unlock()
		return
	case "health":
		var h nodeHealth
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			f.t.Error(err)
		}
		n.health <- h
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case kind == "ticket":
		f.tickets++
		f.kids[kidOf(text)] = true
		f.show("good " + text)
	case kind == "gap":
		f.gaps = append(f.gaps, text)
	case kind == "good" && text == "ok":
		f.accepted++
	case kind == "good":
		f.refused = append(f.refused, fmt.Sprintf("clock %v: %s", n.Clock, text))
	case kind == "old" && text == "ok":
		f.let = append(f.let, fmt.Sprintf("clock %v", n.Clock))
	case kind == "old" && strings.HasPrefix(text, "unknown_key "):
		f.shut++
	default:
		f.wrong = append(f.wrong, kind+" "+text)
	}
}

// show gives a line to every verifier.
func (f *rotatingFleet) show(line string) {
	for _, n := range f.nodes {
		if n.Role == "verify" {
			n.lines <- line
		}
	}
}

// health asks every node.
func (f *rotatingFleet) health() map[*rotatingNode]nodeHealth {
	f.t.Helper()
	all := make(map[*rotatingNode]nodeHealth)
	for _, n := range f.nodes {
		n.lines <- "health"
		select {
		case all[n] = <-n.health:
		case err := <-n.ended:
			f.t.Fatalf("a node has ended: %v", err)
		case <-time.After(30 * time.Second):
			f.t.Fatalf("%+v does not answer; %d lines wait for it", n.nodeConfig, len(n.lines))
		}
	}
	return all
}

// stop ends the minters, then the verifiers when these have judged everything.
func (f *rotatingFleet) stop() {
	f.t.Helper()
	for _, role := range []string{"mint", "verify"} {
		for _, n := range f.nodes {
			if n.Role != role {
				continue
			}
			close(n.lines)
			select {
			case err := <-n.ended:
				if err != nil {
					f.t.Errorf("a node ended with %v", err)
				}
			case <-time.After(30 * time.Second):
				f.t.Fatal("a node does not end")
			}
		}
	}
}

func first3(texts []string) []string { return texts[:min(len(texts), 3)] }

func kidOf(ticket string) string {
	header, _, _ := strings.Cut(ticket, ".")
	var h struct{ Kid string }
	if text, err := base64.RawURLEncoding.DecodeString(header); err == nil {
		json.Unmarshal(text, &h)
	}
	return h.Kid
}

// A keyFile is the keyring that is rotated, and all the keys that were ever in it.
type keyFile struct {
	t    *testing.T
	path string
	all  map[string]map[string]any // by kid, as last seen
}

func newKeyFile(t *testing.T) *keyFile {
	k := &keyFile{t, filepath.Join(t.TempDir(), "keyring.json"), make(map[string]map[string]any)}
	text, err := exec.Command(command(t), "keys", "generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	k.put(text)
	k.note()
	return k
}

// put replaces the file.
func (k *keyFile) put(text []byte) {
	k.t.Helper()
	if err := errors.Join(os.WriteFile(k.path+".new", text, 0o600), os.Rename(k.path+".new", k.path)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keyFile) text() []byte {
	k.t.Helper()
	text, err := os.ReadFile(k.path)
	if err != nil {
		k.t.Fatal(err)
	}
	return text
}

// note remembers the keys and returns the kids that are in the file.
func (k *keyFile) note() (kids []string) {
	k.t.Helper()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(k.text(), &set); err != nil {
		k.t.Fatal(err)
	}
	for _, key := range set.Keys {
		kid := key["kid"].(string)
		k.all[kid] = key
		kids = append(kids, kid)
	}
	return kids
}

func (k *keyFile) wsticket(args ...string) {
	k.t.Helper()
	if out, err := exec.Command(command(k.t), args...).CombinedOutput(); err != nil {
		k.t.Fatalf("wsticket %q: %v\n%s", args, err, out)
	}
	k.note()
}

// forge signs with a key that may not sign any more.
func (k *keyFile) forge(kid string) string {
	k.t.Helper()
	key := map[string]any{"kty": "oct", "kid": kid, "alg": k.all[kid]["alg"], "k": k.all[kid]["k"]}
	text, err := json.Marshal(map[string]any{"keys": []any{key}})
	if err != nil {
		k.t.Fatal(err)
	}
	keys, err := wsticket.ParseKeyring(text)
	if err != nil {
		k.t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: rotationTTL})
	if err != nil {
		k.t.Fatal(err)
	}
	ticket, err := signer.SignAt(time.Now(), &wsticket.Claims{Subject: "mallory"})
	if err != nil {
		k.t.Fatal(err)
	}
	return ticket
}

// over says which keys no verifier may take any more, whatever its clock: those that
// ended before the slowest clock, and those that left the file long enough ago.
func (k *keyFile) over(revoked map[string]time.Time) (kids []string) {
	for kid, key := range k.all {
		exp, ends := key["exp"].(float64)
		gone, was := revoked[kid]
		if ends && time.Now().After(time.Unix(int64(exp)+1, 0)) || was && time.Since(gone) > 4*time.Second {
			kids = append(kids, kid)
		}
	}
	return kids
}

func TestRotationUnderLoad(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes a minute: set WSTICKET_SLOW=1")
	}
	const rotations = 20
	file := newKeyFile(t)
	first := file.note()[0]
	f := startRotatingFleet(t, file.path)
	revoked := make(map[string]time.Time)
	var brokenAt, mendedAt time.Time
	pause := func(d time.Duration) { // and try what is over meanwhile
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			for _, kid := range file.over(revoked) {
				f.show("old " + file.forge(kid))
			}
		}
	}
	for i := range rotations {
		pause(1500 * time.Millisecond)
		file.wsticket("keys", "rotate", "-keys", file.path, "-activate-in", "4s",
			"-max-ttl", rotationTTL.String(), "-leeway", rotationLeeway.String())
		switch i {
		case 9:
			// A file that was cut off: every node keeps what it has, says so once, and
			// Health says since when.
			pause(1500 * time.Millisecond) // they have the rotated one
			good := file.text()
			brokenAt = time.Now()
			file.put(good[:len(good)*2/3])
			pause(2 * time.Second)
			for n, h := range f.health() {
				if h.FailingSince.Before(brokenAt) || h.FailingSince.After(brokenAt.Add(1500*time.Millisecond+n.Every)) || h.Failures == 0 || !strings.Contains(h.LastError, "keyring.json") {
					t.Errorf("%s, clock %v: %+v, broken at %v", n.Role, n.Clock, h, brokenAt)
				}
			}
			file.put(good)
			mendedAt = time.Now()
		case 13:
			// The first key has not signed for long: its last tickets are over.
			if slices.Contains(file.note(), first) {
				file.wsticket("keys", "revoke", "-keys", file.path, "-kid", first)
			}
			revoked[first] = time.Now()
		}
	}
	pause(8 * time.Second) // the last key signs by then
	prints := make(map[string]bool)
	for n, h := range f.health() {
		prints[h.Fingerprint] = true
		if !h.FailingSince.IsZero() || h.LastError != "<nil>" || !h.LoadedAt.After(mendedAt) || time.Since(h.CheckedAt) > 5*time.Second {
			t.Errorf("%s, clock %v, in the end: %+v", n.Role, n.Clock, h)
		}
	}
	if len(prints) != 1 {
		t.Errorf("the nodes have %d keyrings in the end", len(prints))
	}
	f.stop()
	for _, n := range f.nodes {
		if len(n.reports) != 1 || !strings.Contains(n.reports[0], "keyring.json") {
			t.Errorf("%s, clock %v reported %q, want the broken file once", n.Role, n.Clock, n.reports)
		}
	}
	ended := 0
	for _, key := range file.all {
		if _, ends := key["exp"]; ends {
			ended++
		}
	}
	t.Logf("%d tickets by %d keys, %d acceptances, %d refusals of tickets of %d keys that are over", f.tickets, len(f.kids), f.accepted, f.shut, len(file.over(revoked)))
	if len(f.refused) > 0 || f.accepted != 3*f.tickets || f.tickets < 5000 {
		t.Errorf("%d tickets, %d acceptances, %d refusals, the first %q", f.tickets, f.accepted, len(f.refused), first3(f.refused))
	}
	if len(f.gaps) > 0 {
		t.Errorf("%d tickets could not be signed: %s", len(f.gaps), f.gaps[0])
	}
	if len(f.let) > 0 || len(f.wrong) > 0 || f.shut < 300 {
		t.Errorf("tickets of keys that are over: %d accepted %q, %d refused, %d otherwise %q", len(f.let), first3(f.let), f.shut, len(f.wrong), first3(f.wrong))
	}
	if len(file.all) != 1+rotations || ended != rotations || len(f.kids) != len(file.all) {
		t.Errorf("%d keys in all, %d with an end, %d signed", len(file.all), ended, len(f.kids))
	}
}

// TestRotationTooSoon: where the new key signs before all nodes have it, good tickets
// are refused, and the fleet of the test above notices.
func TestRotationTooSoon(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes some seconds: set WSTICKET_SLOW=1")
	}
	file := newKeyFile(t)
	f := startRotatingFleet(t, file.path)
	for range 3 {
		f.health() // so that all have loaded the keyring
		time.Sleep(time.Second)
		file.wsticket("keys", "rotate", "-keys", file.path, "-activate-in", "0s", "-max-ttl", "5s")
	}
	time.Sleep(2 * time.Second)
	f.stop()
	if len(f.refused) == 0 || !strings.Contains(f.refused[0], "unknown_key") {
		t.Errorf("%d refusals of %d tickets: %q", len(f.refused), f.tickets, first3(f.refused))
	}
}
