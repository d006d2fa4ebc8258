//go:build unix

package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRedisPage does what docs/many-nodes-redis.md says under "With the gateway", on other
// ports.
func TestRedisPage(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes long: set WSTICKET_SLOW=1")
	}
	t.Parallel()
	for program, from := range map[string]string{"redis-server": "redis-server", "curl": "curl", "bash": "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			message := fmt.Sprintf("no %s on PATH; get it, for instance with: apt-get install %s", program, from)
			if os.Getenv("CI") == "true" {
				t.Fatal(message)
			}
			t.Skip(message)
		}
	}
	page, err := os.ReadFile("../docs/many-nodes-redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## With the gateway\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 || !strings.Contains(section, "It says 101 and 401.") {
		t.Fatalf("the page has %d blocks there", len(blocks))
	}

	dir := t.TempDir()
	for program, of := range map[string]string{"wsticket": "github.com/wsticket/wsticket/cmd/wsticket", "wsticket-gateway": "./cmd/wsticket-gateway"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, program), of).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	generate := exec.Command("./wsticket", "keys", "generate")
	generate.Dir = dir
	keys, err := generate.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyring.json"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	ports := []string{"3000", server.Listener.Addr().String()[len("127.0.0.1:"):]}
	for _, port := range []string{"6379", "8081", "8082"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, port, l.Addr().String()[len("127.0.0.1:"):])
		l.Close()
	}
	shell := func(block string) *exec.Cmd {
		cmd := exec.Command("bash", "-c", strings.NewReplacer(ports...).Replace(block))
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return cmd
	}
	log := filepath.Join(dir, "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	start := shell(blocks[0][1])
	start.Stdout, start.Stderr = out, out
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-start.Process.Pid, syscall.SIGKILL) }) // what it left in the background
	if err := start.Wait(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		said, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(said, []byte("listening on ")) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("they do not listen:\n%s", said)
		}
	}
	show := shell(blocks[1][1])
	said, _ := show.Output() // curl is told to leave after a second
	if got := strings.Fields(string(said)); len(got) != 2 || got[0] != "101" || got[1] != "401" {
		t.Errorf("it says %q", got)
	}
}
