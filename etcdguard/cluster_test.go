package etcdguard

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A cluster is some real members of etcd. All that they say to each other, and all
// that clients say to them, goes through relays of the test, which can cut it.
type cluster struct {
	t       testing.TB
	etcd    string
	dir     string
	token   string
	flags   []string
	tls     *tls.Config // of clients; nil for none
	members []*etcdMember
}

type etcdMember struct {
	name    string
	dir     string // the working directory; the data are in "data" below
	id      string // as it says to others
	peers   *relay
	clients *relay
	command *exec.Cmd
	ended   chan struct{}
}

// startCluster starts one, waits until it has a leader, and stops it with the test.
func startCluster(t testing.TB, size int, flags ...string) *cluster {
	t.Helper()
	return startClusterTLS(t, nil, size, flags...)
}

func startClusterTLS(t testing.TB, clients *tls.Config, size int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, etcd: installed(t), dir: memoryDir(t), token: "one", flags: flags, tls: clients}
	for i := range size {
		m := &etcdMember{name: fmt.Sprintf("m%d", i), dir: filepath.Join(c.dir, fmt.Sprint(i))}
		if err := os.Mkdir(m.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		// etcd takes what follows the last colon for a port, and the whole for the
		// name of the socket.
		m.peers = startRelay(t, filepath.Join(m.dir, "localhost:1"), true)
		m.clients = startRelay(t, filepath.Join(m.dir, "localhost:2"), false)
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		c.start(m)
	}
	c.wait()
	return c
}

// start starts a member, on the data that it has.
func (c *cluster) start(m *etcdMember) {
	c.t.Helper()
	var initial []string
	for _, each := range c.members {
		initial = append(initial, each.name+"=http://"+each.peers.addr)
	}
	output, err := os.OpenFile(filepath.Join(m.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer output.Close()
	for _, socket := range []string{"localhost:1", "localhost:2"} {
		os.Remove(filepath.Join(m.dir, socket)) // left by one that was killed
	}
	m.command = exec.Command(c.etcd, append([]string{
		"--name", m.name, "--data-dir", "data", "--logger", "zap", "--log-level", "error",
		"--listen-peer-urls", "unix://localhost:1", "--initial-advertise-peer-urls", "http://" + m.peers.addr,
		"--listen-client-urls", "unix://localhost:2", "--advertise-client-urls", "http://" + m.clients.addr,
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", c.token,
		"--heartbeat-interval", "50", "--election-timeout", "500",
	}, c.flags...)...)
	m.command.Dir = m.dir
	m.command.Stdout, m.command.Stderr = output, output
	m.command.SysProcAttr = endsWithUs()
	if err := m.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	m.ended = ended
	command := m.command
	go func() { command.Wait(); close(ended) }()
	c.t.Cleanup(func() {
		command.Process.Kill()
		<-ended
		if c.t.Failed() {
			if text, err := os.ReadFile(output.Name()); err == nil && len(text) > 0 {
				c.t.Logf("%s said:\n%s", m.name, text[max(0, len(text)-4000):])
			}
		}
	})
}

// do carries out one request of the test's own at a member that is up.
func (c *cluster) do(ask func(context.Context, *clientv3.Client) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := ask(ctx, c.client(c.members[0])); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) signal(s syscall.Signal) {
	for _, m := range c.members {
		m.signal(s)
	}
}

func (c *cluster) killAll() {
	for _, m := range c.members {
		m.kill()
	}
}

func (c *cluster) startAll() {
	for _, m := range c.members {
		c.start(m)
	}
}

// backup copies the data of all members, which it stops for it and starts again.
func (c *cluster) backup() {
	c.t.Helper()
	c.killAll()
	for _, m := range c.members {
		copyDir(c.t, filepath.Join(m.dir, "data"), filepath.Join(m.dir, "backup"))
	}
	c.startAll()
	c.wait()
}

// restore puts the backup in place of the data, or nothing where there is none.
func (c *cluster) restore() {
	c.t.Helper()
	c.killAll()
	for _, m := range c.members {
		data, backup := filepath.Join(m.dir, "data"), filepath.Join(m.dir, "backup")
		if err := os.RemoveAll(data); err != nil {
			c.t.Fatal(err)
		}
		if _, err := os.Stat(backup); err == nil {
			copyDir(c.t, backup, data)
		}
	}
	c.startAll()
	c.wait()
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS makes directories that others may read, which etcd does not want.
	if err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// signal sends s, and waits until a process that it freezes stands still.
func (m *etcdMember) signal(s syscall.Signal) {
	m.command.Process.Signal(s)
	for end := time.Now().Add(5 * time.Second); s == sigStop && !stopped(m.command.Process.Pid) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// stopped says whether every thread of a process has stopped.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		_, rest, ok := bytes.Cut(text, []byte(") "))
		if err == nil && ok && !bytes.HasPrefix(rest, []byte("T")) {
			return false
		}
	}
	return true
}

func (m *etcdMember) kill() {
	m.signal(syscall.SIGKILL)
	<-m.ended
}

// wait waits until every member answers, and learns their ids.
func (c *cluster) wait() {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, m := range c.members {
		client := c.client(m)
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := client.Get(ctx, "nothing")
			cancel()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s gives no answer: %v", m.name, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	list, err := c.client(c.members[0]).MemberList(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, of := range list.Members {
		for _, m := range c.members {
			if m.name == of.Name {
				m.id = fmt.Sprintf("%x", of.ID)
			}
		}
	}
}

// leader is the member that leads, as one of the others sees it.
func (c *cluster) leader() *etcdMember {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		for _, m := range c.members {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := c.client(m).Status(ctx, "http://"+m.clients.addr)
			cancel()
			if err != nil {
				continue
			}
			for _, of := range c.members {
				if of.id == fmt.Sprintf("%x", status.Leader) {
					return of
				}
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatal("there is no leader")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// others are all members but one.
func (c *cluster) others(m *etcdMember) []*etcdMember {
	var all []*etcdMember
	for _, each := range c.members {
		if each != m {
			all = append(all, each)
		}
	}
	return all
}

// partition cuts a member off from the others, both ways, for what members say. Its
// clients still reach it.
func (c *cluster) partition(m *etcdMember) {
	m.peers.cut(func(string) bool { return true })
	for _, other := range c.others(m) {
		other.peers.cut(func(from string) bool { return from == m.id })
	}
}

func (c *cluster) heal() {
	for _, m := range c.members {
		m.peers.cut(nil)
		m.clients.cut(nil)
	}
}

// client is a plain one to a member, for the test itself.
func (c *cluster) client(m *etcdMember) *clientv3.Client {
	c.t.Helper()
	scheme := "http://"
	if c.tls != nil {
		scheme = "https://"
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{scheme + m.clients.addr}, Logger: zap.NewNop(), TLS: c.tls})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// url names members, all where none are given.
func (c *cluster) url(members ...*etcdMember) string {
	if len(members) == 0 {
		members = c.members
	}
	var addresses []string
	for _, m := range members {
		addresses = append(addresses, m.clients.addr)
	}
	return "etcd://" + strings.Join(addresses, ",")
}

// A relay passes connections on to a socket, unless they are cut.
type relay struct {
	addr   string
	socket string
	named  bool // who connects says who it is, in the first request of each connection

	mu    sync.Mutex
	isCut func(from string) bool // nil cuts none
	mute  bool                   // answers are thrown away
	open  map[*relayed]bool
}

type relayed struct {
	from           string
	client, server net.Conn
}

func startRelay(t testing.TB, socket string, named bool) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: listener.Addr().String(), socket: socket, named: named, open: map[*relayed]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { r.pass(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.cut(func(string) bool { return true })
		all.Wait()
	})
	return r
}

func (r *relay) pass(client net.Conn) {
	defer client.Close()
	reader := bufio.NewReaderSize(client, 16<<10)
	var head []byte
	for n := 1; r.named && !bytes.Contains(head, []byte("\r\n\r\n")); n = reader.Buffered() + 1 {
		if _, err := reader.Peek(n); err != nil {
			return
		}
		head, _ = reader.Peek(reader.Buffered())
	}
	c := &relayed{client: client}
	for line := range bytes.Lines(head) {
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("X-Server-From")) {
			c.from = strings.TrimSpace(string(value))
		}
	}
	r.mu.Lock()
	if r.isCut != nil && r.isCut(c.from) {
		r.mu.Unlock()
		return
	}
	server, err := net.Dial("unix", r.socket)
	if err != nil {
		r.mu.Unlock()
		return
	}
	c.server = server
	r.open[c] = true
	r.mu.Unlock()
	defer func() {
		server.Close()
		r.mu.Lock()
		delete(r.open, c)
		r.mu.Unlock()
	}()
	done := make(chan struct{})
	go func() {
		io.Copy(server, reader)
		server.(*net.UnixConn).CloseWrite()
		close(done)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		r.mu.Lock()
		mute := r.mute
		r.mu.Unlock()
		if n > 0 && !mute {
			if _, err := client.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	client.Close()
	<-done
}

// cut closes the connections from those that are cut, and takes no more from them.
// nil lets all pass again.
func (r *relay) cut(isCut func(from string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = isCut
	if isCut == nil {
		return
	}
	for c := range r.open {
		if isCut(c.from) {
			c.client.Close()
			c.server.Close()
		}
	}
}

// silence throws away what the member answers from now on, while what is asked still
// reaches it.
func (r *relay) silence(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = on
	if on {
		return
	}
	for c := range r.open { // a part of an answer is no use to anybody
		c.client.Close()
	}
}

// installed finds etcd. Where there is none the test is skipped, but on a build
// server, which has to have it, it fails.
func installed(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot freeze an etcd: run these tests elsewhere, for instance under WSL")
	}
	if path := os.Getenv("WSTICKET_ETCD"); path != "" {
		return path
	}
	path, err := exec.LookPath("etcd")
	if err == nil {
		return path
	}
	const message = "no etcd on PATH; get one, for instance with: apt-get install etcd-server"
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// slow skips a test that takes long, unless asked for.
func slow(t testing.TB) {
	t.Helper()
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("takes long; WSTICKET_SLOW=1 runs it")
	}
}

// memoryDir is a directory in memory where there is such a thing, so that the test
// does not measure somebody's disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() || os.Getenv("WSTICKET_ON_DISK") != "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "etcdguard-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
