package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// nodeVariable has this program run as one node of a fleet, and never get to main.
const nodeVariable = "WSTICKET_INTEROP_NODE"

// A nodeSetup is what a node is told.
type nodeSetup struct {
	Name string
	Addr string // to listen on
	JWKS []byte
	Sole bool // it is its name's audience alone
	New  bool // no ticket of its keys can have been used before it starts
}

func init() {
	text := os.Getenv(nodeVariable)
	if text == "" {
		return
	}
	var setup nodeSetup
	err := json.Unmarshal([]byte(text), &setup)
	if err == nil {
		err = runNode(setup)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// runNode is a raw gateway with a cache of its own. It tells whom it lets in its name.
func runNode(setup nodeSetup) error {
	keys, err := wsticket.ParseKeyring(setup.JWKS)
	if err != nil {
		return err
	}
	replay := wsticket.ReplayConfig{PeakPerSecond: 1000}
	if setup.New {
		replay.Since = time.Unix(0, 0)
	}
	cache, err := wsticket.NewReplayCache(replay)
	if err != nil {
		return err
	}
	config := wsticket.VerifierConfig{Keys: keys, Replay: cache}
	if setup.Sole {
		config.SoleAudience = setup.Name
	}
	verifier, err := wsticket.NewVerifier(config)
	if err != nil {
		return err
	}
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier, Carriers: wsticket.CarrierQuery, Protocols: []string{"app.v1"}})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", setup.Addr)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			var h wsticket.Handshake
			if upgrader.Upgrade(context.Background(), conn, &h) == nil {
				wsutil.WriteServerText(conn, []byte(setup.Name))
				wsutil.ReadClientText(conn) // until it goes
			}
		}()
	}
}

// A fleet is some nodes, each a process, that share keys and remember for themselves.
type fleet struct {
	t      *testing.T
	key    secretKey
	signer *wsticket.Signer
	nodes  []*node
}

type node struct {
	setup   nodeSetup
	addr    string
	command *exec.Cmd
}

func startFleet(t *testing.T, size int, sole bool) *fleet {
	t.Helper()
	f := &fleet{t: t, key: newSecretKey(t, "HS256")}
	f.signer = f.key.signer(t)
	for i := range size {
		n := &node{setup: nodeSetup{Name: fmt.Sprintf("gw-%d", i+1), Addr: "127.0.0.1:0", JWKS: f.key.jwks(), Sole: sole, New: true}}
		f.nodes = append(f.nodes, n)
		f.start(n)
		n.setup.Addr, n.setup.New = n.addr, false // where it starts again
	}
	return f
}

func (f *fleet) start(n *node) {
	f.t.Helper()
	setup, err := json.Marshal(n.setup)
	if err != nil {
		f.t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), nodeVariable+"="+string(setup))
	command.Stderr = os.Stderr
	command.SysProcAttr = endsWithUs()
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	n.command = command
	f.t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		f.t.Fatalf("%s does not listen: %v", n.setup.Name, err)
	}
	n.addr = strings.TrimSpace(line)
}

func (n *node) kill() {
	n.command.Process.Kill()
	n.command.Wait()
}

// ticket signs one of the default TTL.
func (f *fleet) ticket(change ...func(*wsticket.Claims)) string {
	f.t.Helper()
	c := wsticket.Claims{Subject: "user-4711", TTL: time.Minute}
	for _, alter := range change {
		alter(&c)
	}
	ticket, err := f.signer.Sign(&c)
	if err != nil {
		f.t.Fatal(err)
	}
	return ticket
}

// deployed is a file of deploy with the addresses and places of this test, for a proxy
// that listens on a socket.
func (f *fleet) deployed(name, socket string) string {
	f.t.Helper()
	content, err := os.ReadFile(filepath.Join("../deploy", name))
	if err != nil {
		f.t.Fatal(err)
	}
	config := string(content)
	places := map[string]string{
		"127.0.0.1:8000": "unix:" + socket,
		"127.0.0.1:8081": f.nodes[0].addr, "127.0.0.1:8082": f.nodes[1].addr, "127.0.0.1:8083": f.nodes[2].addr,
	}
	if strings.HasSuffix(name, ".cfg") {
		places["127.0.0.1:8000"] = "unix@" + socket
	} else {
		dir := filepath.Dir(socket)
		places["worker_processes auto;"] = "daemon off; master_process on; user root; worker_processes 2;"
		places["/run/nginx.pid"] = filepath.Join(dir, "pid")
		places["/var/log/nginx"] = dir
		places["http {\n"] = "http {\nclient_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n"
	}
	for from, to := range places {
		if !strings.Contains(config, from) {
			f.t.Fatalf("%s does not name %s", name, from)
		}
		config = strings.ReplaceAll(config, from, to)
	}
	return config
}

// A balancer is a proxy in front of a fleet.
type balancer struct {
	name   string
	socket string
	file   string
	path   string
	dir    string
	*program
}

// startBalancer runs nginx or HAProxy with the configuration of a file of deploy, but for
// the lines that hold one of without.
func (f *fleet) startBalancer(name, folder string, without ...string) *balancer {
	f.t.Helper()
	b := &balancer{name: name, dir: f.t.TempDir()}
	b.socket = filepath.Join(b.dir, "socket")
	if name == "nginx" {
		b.path = installed(f.t, "nginx", "apt-get install nginx", "nginx", "/usr/sbin/nginx")
		b.file = "nginx.conf"
	} else {
		b.path = installed(f.t, "HAProxy", "apt-get install haproxy", "haproxy", "/usr/sbin/haproxy")
		b.file = "haproxy.cfg"
	}
	config := f.deployed(filepath.Join(folder, b.file), b.socket)
	for _, text := range without {
		config = dropLines(config, text)
	}
	b.file = filepath.Join(b.dir, b.file)
	b.configure(f.t, config)
	args := []string{"-db", "-f", b.file}
	if name == "nginx" {
		args = []string{"-p", b.dir, "-e", "start.log", "-c", b.file}
	}
	b.program = startProgram(f.t, b.path, args...)
	waitForSocket(f.t, b.socket)
	return b
}

func (b *balancer) configure(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(b.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// takeOut changes the configuration and has the balancer take it up, as an operator
// would who takes a node out.
func (b *balancer) takeOut(t *testing.T, n *node) {
	t.Helper()
	content, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.configure(t, dropLines(string(content), n.addr))
	if b.name == "nginx" {
		old := b.children(t)
		if out, err := exec.Command(b.path, "-p", b.dir, "-e", "start.log", "-c", b.file, "-s", "reload").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Workers of the old configuration take connections until the signal has come
		// to them, which on a busy machine is after that command has ended.
		end := time.Now().Add(20 * time.Second)
		for _, worker := range old {
			for running(worker) {
				if time.Now().After(end) {
					t.Fatalf("worker %d of the old configuration still runs", worker)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		return
	}
	b.stop()
	os.Remove(b.socket)
	b.program = startProgram(t, b.path, "-db", "-f", b.file)
	waitForSocket(t, b.socket)
}

func dropLines(config, text string) string {
	var kept strings.Builder
	for line := range strings.Lines(config) {
		if !strings.Contains(line, text) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// A showing is a handshake as it goes over the wire.
type showing struct {
	target string
	header string // lines, each with its end
}

func byQuery(query string) showing { return showing{target: "/ws?" + query} }

// show carries out one handshake and returns the status, and the name of the node that
// let it in.
func show(t *testing.T, network, address string, s showing) (status int, name string) {
	t.Helper()
	conn, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return 0, ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", s.target, s.header)
	reader := bufio.NewReader(conn)
	r, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, ""
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		r.Body.Close()
		return r.StatusCode, ""
	}
	message, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{reader, conn})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading the name of the node: %v", err)
	}
	return r.StatusCode, string(message)
}

// A tally counts what became of tickets, by ticket and in all.
type tally struct {
	mu       sync.Mutex
	accepted map[string]int
	nodes    map[string]int
	statuses map[int]int
}

func newTally() *tally {
	return &tally{accepted: map[string]int{}, nodes: map[string]int{}, statuses: map[int]int{}}
}

func (c *tally) show(t *testing.T, b *balancer, ticket string, s showing) int {
	status, name := show(t, "unix", b.socket, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statuses[status]++
	if status == http.StatusSwitchingProtocols {
		c.accepted[ticket]++
		c.nodes[name]++
	}
	return status
}

// twice is the number of tickets that were accepted more than once.
func (c *tally) twice() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, times := range c.accepted {
		if times > 1 {
			n++
		}
	}
	return n
}
