package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

// TestIdleConnections holds 8,000 idle connections in a gateway of its own process, and
// measures what it has resident for each: at most 16 KB.
func TestIdleConnections(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes long: set WSTICKET_SLOW=1")
	}
	const connections = 8_000 // two descriptors each; many machines allow 20,000
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	loaded, err := wsticket.LoadKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: loaded, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	defer close(hold)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err == nil {
			defer conn.Close()
			<-hold
		}
	}))
	p := start(t, "serve", "-listen", "127.0.0.1:0", "-leeway", "1s", "-keys", keys, "-upstream", backend.URL, "-drain", "1s")
	resident := func() int {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
		if err != nil {
			t.Skip("no /proc here: " + err.Error())
		}
		_, line, _ := strings.Cut(string(status), "VmRSS:")
		var kb int
		fmt.Sscan(line, &kb)
		return kb << 10
	}
	open := func(n int) {
		for range n {
			ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "s3"})
			if err != nil {
				t.Fatal(err)
			}
			dialer := ws.Dialer{Timeout: 20 * time.Second, NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return net.Dial("tcp", p.addr)
			}}
			conn, _, _, err := dialer.Dial(t.Context(), "ws://"+p.addr+"/ws?ticket="+ticket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
		}
	}
	open(100)
	before := resident()
	open(connections)
	var each int
	for deadline := time.Now().Add(30 * time.Second); ; {
		if each = (resident() - before) / connections; each <= 16<<10 || time.Now().After(deadline) {
			break
		}
		time.Sleep(500 * time.Millisecond) // the collector of another process returns memory when it likes
	}
	t.Logf("%d bytes resident for each of %d idle connections", each, connections)
	if each > 16<<10 {
		t.Errorf("%d bytes resident for each idle connection, want at most %d", each, 16<<10)
	}
}
