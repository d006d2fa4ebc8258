package redisguard

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// Three processes take tickets from one store. Each ticket is shown to all three at
// once, several times.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	slow(t)
	const tickets, shows = 3000, 3
	s := startServer(t)
	remember(t, s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]int{}
	var inputs []io.WriteCloser
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "WSTICKET_TEST_NODE="+s.url())
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = endsWithUs()
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("a node says %q", lines.Text())
		}
		inputs = append(inputs, in)
		wg.Go(func() {
			n := map[string]int{}
			for lines.Scan() {
				id, verdict, _ := strings.Cut(lines.Text(), " ")
				n[verdict]++
				if verdict == "ok" {
					mu.Lock()
					accepted[id]++
					mu.Unlock()
				}
			}
			t.Log("a node's verdicts:", n)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	var writers sync.WaitGroup
	all := make([]wsticket.Use, tickets)
	for i := range all {
		all[i] = ticket(10)
	}
	for _, in := range inputs {
		writers.Go(func() {
			w := bufio.NewWriter(in)
			for _, u := range all {
				for range shows {
					fmt.Fprintf(w, "%x %d %d\n", u.Identity, u.Issued, u.Expires)
				}
			}
			w.Flush()
			in.Close()
		})
	}
	writers.Wait()
	wg.Wait()
	for id, n := range accepted {
		if n != 1 {
			t.Errorf("%s was accepted %d times", id, n)
		}
	}
	if len(accepted) != tickets {
		t.Errorf("%d of %d tickets were accepted", len(accepted), tickets)
	}
}

// nodeMain is one of the processes: a line for each ticket comes in, a line with its
// verdict goes out.
func nodeMain(url string) int {
	g, err := New(context.Background(), shortest(url))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer g.Close()
	fmt.Println("ready")
	uses := make(chan wsticket.Use)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for u := range uses {
				u.Now = time.Now().Unix()
				verdict := "ok"
				if err := g.Spend(context.Background(), u); err != nil {
					code, _ := wsticket.CodeOf(err)
					verdict = code.Code()
				}
				mu.Lock()
				fmt.Printf("%x %s\n", u.Identity, verdict)
				mu.Unlock()
			}
		})
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var id string
		var u wsticket.Use
		if _, err := fmt.Sscan(lines.Text(), &id, &u.Issued, &u.Expires); err != nil {
			return 1
		}
		if _, err := hex.Decode(u.Identity[:], []byte(id)); err != nil {
			return 1
		}
		uses <- u
	}
	close(uses)
	wg.Wait()
	return 0
}
