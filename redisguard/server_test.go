package redisguard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// need returns the path of a program, or skips the test with a line that says how to
// get it. In CI it fails instead.
func need(tb testing.TB, program, debian string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		text := fmt.Sprintf("%s is not installed: apt-get install %s", program, debian)
		if os.Getenv("CI") == "true" {
			tb.Fatal(text)
		}
		tb.Skip(text)
	}
	return path
}

// redisServer is the redis-server of the path, or what WSTICKET_REDIS_SERVER names: a
// valkey-server, say.
func redisServer(tb testing.TB) string {
	tb.Helper()
	if runtime.GOOS == "windows" {
		tb.Skip("Windows cannot freeze a Redis: run these tests elsewhere, for instance under WSL")
	}
	if path := os.Getenv("WSTICKET_REDIS_SERVER"); path != "" {
		return path
	}
	return need(tb, "redis-server", "redis-server")
}

// redisSentinel is redis-sentinel, or what WSTICKET_REDIS_SENTINEL names.
func redisSentinel(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("WSTICKET_REDIS_SENTINEL"); path != "" {
		return path
	}
	return need(tb, "redis-sentinel", "redis-sentinel")
}

// slow skips a test that takes long, unless it was asked for.
func slow(tb testing.TB) {
	tb.Helper()
	if os.Getenv("WSTICKET_SLOW") != "1" {
		tb.Skip("takes long: set WSTICKET_SLOW=1")
	}
}

// A server is a redis-server of this test, in a folder of its own.
type server struct {
	tb      testing.TB
	program []string // and what begins its arguments
	port    int
	dir     string
	args    []string
	bare    bool // the program gets no arguments but its own

	mu  sync.Mutex
	cmd *exec.Cmd
	log bytes.Buffer
}

// startServer starts a redis-server without persistence. args are options as on its
// command line.
func startServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	return startOn(tb, []string{redisServer(tb)}, freePort(tb), args...)
}

func startOn(tb testing.TB, program []string, port int, args ...string) *server {
	tb.Helper()
	s := &server{tb: tb, program: program, port: port, dir: tb.TempDir(), args: args}
	tb.Cleanup(func() { s.kill() })
	s.start()
	return s
}

func (s *server) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }
func (s *server) url() string  { return "redis://" + s.addr() }

// noServer begins what a test says whose server did not start.
const noServer = "the server does not answer"

// start starts the process and waits until it answers.
func (s *server) start(args ...string) {
	s.tb.Helper()
	// Under libfaketime a server hangs now and then before it listens, and another process
	// may take its port for a moment: it is started anew.
	for range 3 {
		s.launch(args...)
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			answer, err := s.do("PING")
			if err == nil && answer == "PONG" || err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
				return
			}
		}
		s.kill()
	}
	s.tb.Fatalf(noServer+"; it says:\n%s", s.log.String())
}

func (s *server) launch(args ...string) {
	s.tb.Helper()
	all := append(s.program[1:len(s.program):len(s.program)], "--port", strconv.Itoa(s.port), "--dir", s.dir, "--bind", "127.0.0.1",
		"--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", "--daemonize", "no")
	all = append(append(all, s.args...), args...)
	if s.bare {
		all = s.program[1:]
	}
	cmd := exec.Command(s.program[0], all...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = endsWithUs()
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
}

// until waits for something that must come true.
func (s *server) until(what string, f func() bool) {
	s.tb.Helper()
	within(s.tb, 15*time.Second, what, f)
}

func within(tb testing.TB, limit time.Duration, what string, f func() bool) {
	tb.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

// freeze returns when the process stands still.
func (s *server) freeze() {
	s.signal(sigStop)
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := time.Now().Add(5 * time.Second); s.cmd != nil && !stopped(s.cmd.Process.Pid) && time.Now().Before(end); {
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

func (s *server) thaw() { s.signal(sigCont) }

// kill is kill -9. It waits for the end.
func (s *server) kill() {
	s.mu.Lock()
	cmd := s.cmd
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// must sends a command.
func (s *server) must(args ...string) string {
	s.tb.Helper()
	answer, err := s.do(args...)
	if err != nil {
		s.tb.Fatalf("%v: %v", args, err)
	}
	return answer
}

func (s *server) do(args ...string) (string, error) { return command(s.addr(), args...) }

// info returns one field of INFO, or "" where there is no answer.
func (s *server) info(section, field string) string { return s.field(field, "INFO", section) }

func (s *server) field(field string, args ...string) string {
	text, _ := s.do(args...)
	for _, line := range strings.Split(text, "\r\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return value
		}
	}
	return ""
}

// command sends one command on a connection of its own, by other code than the
// guard's, and returns the answer as text: lines for an array.
func command(addr string, args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := conn.Write(encode(args)); err != nil {
		return "", err
	}
	return readAnswer(bufio.NewReader(conn))
}

// list sends a command whose answer is an array of strings, of any bytes.
func (s *server) list(args ...string) []string {
	s.tb.Helper()
	conn, err := net.DialTimeout("tcp", s.addr(), time.Second)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := conn.Write(encode(args)); err != nil {
		s.tb.Fatal(err)
	}
	r := bufio.NewReader(conn)
	head, err := r.ReadString('\n')
	if err != nil || head[0] != '*' {
		s.tb.Fatalf("%v: %q, %v", args, head, err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
	all := make([]string, n)
	for i := range all {
		if all[i], err = readAnswer(r); err != nil {
			s.tb.Fatal(err)
		}
	}
	return all
}

func readAnswer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return "", fmt.Errorf("no answer: %w", err)
	}
	rest := line[1 : len(line)-2]
	switch line[0] {
	case '-':
		return "", errors.New(rest)
	case '$':
		n, _ := strconv.Atoi(rest)
		if n < 0 {
			return "", nil
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		return string(b[:n]), err
	case '*':
		n, _ := strconv.Atoi(rest)
		var all []string
		for range n {
			text, err := readAnswer(r)
			if err != nil {
				return "", err
			}
			all = append(all, text)
		}
		return strings.Join(all, "\n"), nil
	}
	return rest, nil
}

// freePort finds one below the range of ports that clients get, so that no connection
// takes it meanwhile.
func freePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		ports.next++
		port := 10000 + (os.Getpid()*37+ports.next*13)%12000
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		bus, err2 := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+10000)) // where a Cluster's nodes meet
		if err == nil {
			l.Close()
		}
		if err2 == nil {
			bus.Close()
		}
		if err == nil && err2 == nil {
			return port
		}
	}
	tb.Fatal("no free port")
	return 0
}

var ports struct {
	sync.Mutex
	next int
}

// replicate makes s a replica of primary and waits until it has caught up.
func (s *server) replicate(primary *server) {
	s.tb.Helper()
	s.must("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.port))
	s.until("the replica is connected", func() bool { return s.info("replication", "master_link_status") == "up" })
	want, _ := strconv.Atoi(primary.info("replication", "master_repl_offset"))
	s.until("the replica has caught up", func() bool {
		has, err := strconv.Atoi(s.info("replication", "master_repl_offset"))
		return err == nil && has >= want
	})
	// Until the primary has heard from it, which is once a second, no WAIT counts it.
	online := fmt.Sprintf("port=%d,state=online", s.port)
	s.until("the primary counts the replica", func() bool {
		for i := range 10 {
			if strings.Contains(primary.info("replication", fmt.Sprint("slave", i)), online) {
				return true
			}
		}
		return false
	})
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

// commandAs sends a command as the default user with a password.
func commandAs(addr, password string, args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	r := bufio.NewReader(conn)
	for _, call := range [][]string{{"AUTH", password}, args} {
		if _, err := conn.Write(encode(call)); err != nil {
			return "", err
		}
		answer, err := readAnswer(r)
		if err != nil || &call[0] == &args[0] {
			return answer, err
		}
	}
	return "", nil
}

func encode(args []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, arg := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b
}
