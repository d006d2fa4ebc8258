package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestQuickstart runs the program as the README tells its reader to.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out the first seconds of a process")
	}
	t.Chdir(t.TempDir())
	keyring := `{"keys":[{"kty":"oct","kid":"example","alg":"HS256","k":"c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4"}]}`
	if err := os.WriteFile("keyring.json", []byte(keyring), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	listener.Close()
	go main()

	deadline := time.Now().Add(30 * time.Second)
	for { // until it listens, and takes tickets
		ticket, status := mint(t, "ada")
		if status == http.StatusOK {
			first, err := connect(ticket)
			if err == nil {
				if first != "hello ada" {
					t.Errorf("it says %q", first)
				}
				var refused ws.StatusError
				if _, err := connect(ticket); !errors.As(err, &refused) || refused != http.StatusUnauthorized {
					t.Errorf("the same ticket again: %v", err)
				}
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no ticket got in")
		}
		time.Sleep(50 * time.Millisecond) // another process would be polled so too
	}
	if _, status := mint(t, ""); status != http.StatusUnauthorized {
		t.Errorf("a stranger gets %d", status)
	}
}

func mint(t *testing.T, user string) (ticket string, status int) {
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/ticket", nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, "")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", 0 // not yet
	}
	defer answer.Body.Close()
	var minted struct{ Ticket string }
	json.NewDecoder(answer.Body).Decode(&minted)
	return minted.Ticket, answer.StatusCode
}

func connect(ticket string) (string, error) {
	conn, early, _, err := ws.Dial(context.Background(), "ws://"+addr+"/ws?ticket="+ticket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var stream io.ReadWriter = conn
	if early != nil { // the greeting came together with the 101
		stream = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	text, err := wsutil.ReadServerText(stream)
	return string(text), err
}

// TestReadmeShowsTheProgram: the code of the README is this program, from func main on.
func TestReadmeShowsTheProgram(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(source), "\nfunc main() {")
	if !ok || !strings.Contains(string(readme), "```go\nfunc main() {"+code+"```") {
		t.Error("README.md does not show examples/quickstart/main.go from func main on as it is")
	}
}
