package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// A user is a browser without a screen.
type user struct {
	t      *testing.T
	client http.Client
	url    string
}

func newUser(t *testing.T, addr string) *user {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u := &user{t, http.Client{Jar: jar}, "http://" + addr}
	u.post("/login", 200)
	return u
}

func (u *user) post(path string, status int) (ticket string) {
	u.t.Helper()
	answer, err := u.client.Post(u.url+path, "", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		u.t.Fatalf("%s: %v, want %d", path, answer.Status, status)
	}
	var body struct{ Ticket string }
	json.NewDecoder(answer.Body).Decode(&body)
	return body.Ticket
}

func TestRenewal(t *testing.T) {
	file, _ := exampletest.Keyring(t)
	addr, _, process := exampletest.Start(t, file, "-session", "4s")
	ada, eve := newUser(t, addr), newUser(t, addr)
	notRenewed := dial(t, addr, eve.post("/ticket", 200))
	conn := dial(t, addr, ada.post("/ticket", 200))
	first := heard(t, conn).Until
	if first == 0 {
		t.Fatal("it does not say until when")
	}
	// Renewed every second the connection outlives the session_exp it began with.
	until, last := first, ""
	for range 5 {
		quiet(t, conn, time.Second)
		last = ada.post("/ticket", 200)
		renewed := say(t, conn, last)
		if renewed.Until <= until-2 || renewed.Refused != "" {
			t.Fatalf("renewed until %+v, before until %d", renewed, until)
		}
		until = renewed.Until
	}
	if time.Now().Unix() <= first || until <= first {
		t.Fatalf("until %d, and it began with %d", until, first)
	}
	for name, c := range map[string]struct{ ticket, refused string }{
		"used":       {last, "invalid_ticket"},
		"no ticket":  {"x", "invalid_ticket"},
		"of another": {eve.post("/ticket", 200), "forbidden"},
	} {
		if got := say(t, conn, c.ticket); got.Refused != c.refused {
			t.Errorf("%s: %+v, want %s", name, got, c.refused)
		}
	}
	// A logout ends it, and the ticket that was minted before is worth nothing.
	unspent := ada.post("/ticket", 200)
	ada.post("/logout", 200)
	exampletest.WantClosed(t, "logout", conn, 3000)
	ada.post("/ticket", 401)
	if _, _, _, err := ws.Dial(context.Background(), "ws://"+addr+"/ws?ticket="+unspent); err == nil {
		t.Error("an unspent ticket of the session gets in")
	}
	// Without renewal it ends.
	heard(t, notRenewed)
	exampletest.WantClosed(t, "session_exp", notRenewed, 3000)
	if process.ProcessState != nil {
		t.Error("the program has ended")
	}
}

// dial returns a connection from which what came together with the 101 is read first.
func dial(t *testing.T, addr, ticket string) net.Conn {
	t.Helper()
	conn, early, _, err := ws.Dial(context.Background(), "ws://"+addr+"/ws?ticket="+ticket)
	if err != nil {
		t.Fatal(err)
	}
	if early == nil {
		return conn
	}
	return &ahead{conn, early}
}

type ahead struct {
	net.Conn
	early io.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.early.Read(p) }

// quiet sees that the server says nothing for a while, and does not hang up.
func quiet(t *testing.T, conn net.Conn, d time.Duration) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(d))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("it does not stay quiet: %v", err)
	}
}

type news struct {
	Until   int64
	Refused string
}

func say(t *testing.T, conn net.Conn, ticket string) news {
	t.Helper()
	text, err := json.Marshal(map[string]string{"renew": ticket})
	if err != nil {
		t.Fatal(err)
	}
	if err := wsutil.WriteClientText(conn, text); err != nil {
		t.Fatal(err)
	}
	return heard(t, conn)
}

func heard(t *testing.T, conn net.Conn) (n news) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	text, err := wsutil.ReadServerText(conn)
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
