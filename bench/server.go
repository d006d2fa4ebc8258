package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A server is a program of somebody else's, such as nginx. It ends with this process,
// also where that is killed.
type server struct {
	addr, pid string
	shell     *exec.Cmd
	hold      io.Closer
}

// The shell waits for the end of its input, which comes when nobody holds the other end.
const holding = `"$0" "$@" </dev/null >/dev/null & echo $!; read -r line; kill $!; wait $!`

// freeAddr is an address of this machine that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startServer runs a program that is to listen on addr, and waits until it does.
func startServer(addr, path string, args ...string) (*server, error) {
	s := &server{addr: addr, shell: exec.Command("sh", append([]string{"-c", holding, path}, args...)...)}
	s.shell.Stderr = os.Stderr
	hold, err := s.shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.hold = hold
	out, err := s.shell.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.shell.Start(); err != nil {
		return nil, err
	}
	pid, err := bufio.NewReader(out).ReadString('\n')
	s.pid = strings.TrimSpace(pid)
	for end := time.Now().Add(10 * time.Second); err == nil; time.Sleep(10 * time.Millisecond) {
		conn, dialed := net.Dial("tcp", addr)
		if dialed == nil {
			conn.Close()
			return s, nil
		}
		if time.Now().After(end) {
			err = dialed
		}
	}
	return nil, errors.Join(fmt.Errorf("%s does not listen: %w", path, err), s.stop())
}

func (s *server) stop() error {
	s.hold.Close()
	var ended *exec.ExitError // as a program does that was told to end
	if err := s.shell.Wait(); !errors.As(err, &ended) {
		return err
	}
	return nil
}
