package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/rendezvous"
)

var balancers = []string{"nginx", "HAProxy"}

// Behind a balancer that goes by the ticket, N tickets that are each shown ten times at
// once are accepted N times in all, and every node has its share.
func TestAffinity(t *testing.T) {
	t.Parallel()
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t, 3, false)
			b := f.startBalancer(name, "affinity")
			const tickets, shown = 60, 10
			c := newTally()
			var all sync.WaitGroup
			for range tickets {
				ticket := f.ticket()
				for n := range shown {
					// What stands around the ticket does not matter.
					query := "ticket=" + ticket
					switch n % 3 {
					case 1:
						query = fmt.Sprintf("n=%d&%s", n, query)
					case 2:
						query = fmt.Sprintf("%s&n=%d", query, n)
					}
					all.Go(func() { c.show(t, b, ticket, showing{target: fmt.Sprintf("/room/%d?%s", n, query)}) })
				}
			}
			all.Wait()
			if len(c.accepted) != tickets || c.twice() != 0 || c.statuses[101] != tickets || c.statuses[401] != tickets*(shown-1) {
				t.Errorf("of %d tickets %d were accepted, %d of them twice; answers: %v", tickets, len(c.accepted), c.twice(), c.statuses)
			}
			for _, n := range f.nodes {
				if c.nodes[n.setup.Name] == 0 { // how many it has is for the hash to say
					t.Errorf("%s has none of %d tickets", n.setup.Name, tickets)
				}
			}
			t.Logf("%d tickets, each shown %d times at once: %v by node", tickets, shown, c.nodes)
		})
		t.Run(name+" without affinity", func(t *testing.T) {
			f := startFleet(t, 3, false)
			b := f.startBalancer(name, "affinity", "hash $arg_ticket", "balance url_param", "hash-type")
			c := newTally()
			for range 20 {
				ticket := f.ticket()
				for range 6 {
					c.show(t, b, ticket, byQuery("ticket="+ticket))
				}
			}
			if c.twice() == 0 {
				t.Error("no ticket is accepted twice, so the test tests nothing")
			}
		})
	}
}

// Every other spelling and carrier is refused, or comes to the same node: a ticket that
// is shown in all of them and by itself is accepted once.
func TestAffinitySpellings(t *testing.T) {
	t.Parallel()
	spellings := []struct {
		name string
		// in is the handshake, with something random in it that could send it elsewhere.
		in func(ticket, junk string) showing
		ok bool // it is let in; else it is refused and leaves the ticket unspent
	}{
		{"as it is", func(k, j string) showing { return byQuery("ticket=" + k) }, true},
		{"behind another parameter", func(k, j string) showing { return byQuery("x=" + j + "&ticket=" + k) }, true},
		{"behind an empty one", func(k, j string) showing { return byQuery("&&ticket=" + k + "&" + j) }, true},
		{"another path", func(k, j string) showing { return showing{target: "/" + j + "?ticket=" + k} }, true},
		{"a bearer beside it", func(k, j string) showing {
			return showing{"/ws?ticket=" + k, "Authorization: Bearer " + j + "\r\n"}
		}, true},
		{"a cookie beside it", func(k, j string) showing {
			return showing{"/ws?ticket=" + k, "Cookie: __Host-ws-ticket=" + j + "\r\n"}
		}, true},
		{"upper case", func(k, j string) showing { return byQuery("TICKET=" + k + "&" + j) }, false},
		{"title case", func(k, j string) showing { return byQuery("Ticket=" + k + "&" + j) }, false},
		{"encoded name", func(k, j string) showing { return byQuery("%74icket=" + k + "&" + j) }, false},
		{"encoded name behind", func(k, j string) showing { return byQuery(j + "&ticke%54=" + k) }, false},
		{"encoded value", func(k, j string) showing { return byQuery("ticket=%65" + k[1:] + "&" + j) }, false},
		{"space behind", func(k, j string) showing { return byQuery("ticket=" + k + "%20" + j) }, false},
		{"an array", func(k, j string) showing { return byQuery("ticket[]=" + k + "&" + j) }, false},
		{"twice the same", func(k, j string) showing { return byQuery("ticket=" + k + "&ticket=" + k) }, false},
		{"another before", func(k, j string) showing { return byQuery("ticket=" + j + "&ticket=" + k) }, false},
		{"another behind", func(k, j string) showing { return byQuery("ticket=" + k + "&ticket=" + j) }, false},
		{"an empty one before", func(k, j string) showing { return byQuery("ticket=&ticket=" + k + "&" + j) }, false},
		{"one without value before", func(k, j string) showing { return byQuery("ticket&ticket=" + k + "&" + j) }, false},
		{"upper case before", func(k, j string) showing { return byQuery("Ticket=" + j + "&ticket=" + k) }, false},
		{"upper case behind", func(k, j string) showing { return byQuery("ticket=" + k + "&tickeT=" + j) }, false},
		{"encoded name before", func(k, j string) showing { return byQuery("%74icket=" + j + "&ticket=" + k) }, false},
		{"behind a semicolon", func(k, j string) showing { return byQuery("x=" + j + ";ticket=" + k) }, false},
		{"another behind a semicolon", func(k, j string) showing { return byQuery("x;ticket=" + j + "&ticket=" + k) }, false},
		{"another behind a question mark", func(k, j string) showing { return byQuery("x?ticket=" + j + "&ticket=" + k) }, false},
		{"two question marks and another", func(k, j string) showing { return byQuery("?ticket=" + j + "&ticket=" + k) }, false},
		{"two question marks", func(k, j string) showing { return byQuery("?ticket=" + k + "&" + j) }, false},
		{"a semicolon behind", func(k, j string) showing { return byQuery("ticket=" + k + ";" + j) }, false},
		{"a fragment behind", func(k, j string) showing { return byQuery("ticket=" + k + "#" + j) }, false},
		{"another in the path", func(k, j string) showing { return showing{target: "/ws;ticket=" + j + "?x"} }, false},
		{"bearer", func(k, j string) showing { return showing{"/ws?" + j, "Authorization: Bearer " + k + "\r\n"} }, false},
		{"cookie", func(k, j string) showing {
			return showing{"/ws?" + j, "Cookie: __Host-ws-ticket=" + k + "\r\nOrigin: http://gw.example\r\n"}
		}, false},
		{"subprotocol", func(k, j string) showing {
			return showing{"/ws?" + j, "Sec-WebSocket-Protocol: app.v1, ticket." + k + "\r\n"}
		}, false},
		{"a header", func(k, j string) showing { return showing{"/ws?" + j, "Ticket: " + k + "\r\n"} }, false},
	}
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t, 3, false)
			b := f.startBalancer(name, "affinity")
			for _, s := range spellings {
				c := newTally()
				ticket := f.ticket()
				// Random enough to come to all of three nodes by any hash.
				for range 12 {
					c.show(t, b, ticket, s.in(ticket, fmt.Sprintf("j%x", rand.Uint64())))
				}
				switch n := c.accepted[ticket]; {
				case s.ok && n != 1:
					t.Errorf("%s: accepted %d times of 12, want once: %v", s.name, n, c.statuses)
				case !s.ok && n != 0:
					t.Errorf("%s: accepted %d times of 12, want none: %v", s.name, n, c.statuses)
				}
				status := c.show(t, b, ticket, byQuery("ticket="+ticket))
				if want := map[bool]int{true: 401, false: 101}[s.ok]; status != want {
					t.Errorf("%s, then as it should be: %d, want %d", s.name, status, want)
				}
			}
			// All of them, and the ticket itself, at once.
			c := newTally()
			var all sync.WaitGroup
			for range 10 {
				ticket := f.ticket()
				for _, s := range spellings {
					all.Go(func() { c.show(t, b, ticket, s.in(ticket, fmt.Sprintf("j%x", rand.Uint64()))) })
				}
			}
			all.Wait()
			if len(c.accepted) != 10 || c.twice() != 0 {
				t.Errorf("of 10 tickets in every spelling %d are accepted, %d of them twice: %v", len(c.accepted), c.twice(), c.statuses)
			}
		})
	}
}

// A node is taken out of the balancer. Tickets of the others stay where they are, and
// none of them is accepted twice. Those of the node move, and may be accepted once more
// by another until they expire: for one TTL and the leeway, and no longer.
func TestAffinityNodeTakenOut(t *testing.T) {
	slow(t)
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t, 3, false)
			b := f.startBalancer(name, "affinity")
			const tickets, ttl = 90, 5 * time.Second
			short := func(c *wsticket.Claims) { c.TTL = ttl }
			c := newTally()
			minted := time.Now()
			var before []string
			home := map[string]string{}
			for range tickets {
				ticket := f.ticket(short)
				before = append(before, ticket)
				status, node := show(t, "unix", b.socket, byQuery("ticket="+ticket))
				if status != 101 {
					t.Fatal(status)
				}
				home[ticket] = node
				c.accepted[ticket]++
			}
			out := f.nodes[1]
			b.takeOut(t, out)
			// A reload leaves old workers for a moment; what is shown is shown to new
			// ones once the configuration is in force.
			moved := 0
			for range 3 {
				for _, ticket := range before {
					c.show(t, b, ticket, byQuery("ticket="+ticket))
				}
			}
			took := time.Since(minted)
			for ticket, times := range c.accepted {
				switch {
				case times == 1:
				case times == 2 && home[ticket] == out.setup.Name:
					moved++
				default:
					t.Errorf("a ticket of %s is accepted %d times", home[ticket], times)
				}
			}
			if took < ttl { // else the machine was too slow to see it
				t.Logf("%d of %d tickets are accepted once more, all of them tickets of the node that was taken out, which had %d", moved, tickets, count(home, out.setup.Name))
				if moved == 0 {
					t.Error("no ticket moved, so the test tests nothing")
				}
			}
			// Tickets that are minted from then on are accepted once.
			fresh := newTally()
			var all sync.WaitGroup
			for range 30 {
				ticket := f.ticket()
				for range 10 {
					all.Go(func() { fresh.show(t, b, ticket, byQuery("ticket="+ticket)) })
				}
			}
			all.Wait()
			if len(fresh.accepted) != 30 || fresh.twice() != 0 || fresh.nodes[out.setup.Name] != 0 {
				t.Errorf("of 30 tickets minted after it %d are accepted, %d twice, by %v", len(fresh.accepted), fresh.twice(), fresh.nodes)
			}
			// One TTL and the leeway later it is over.
			time.Sleep(time.Until(minted.Add(took + ttl + wsticket.DefaultLeeway)))
			late := newTally()
			for _, ticket := range before {
				late.show(t, b, ticket, byQuery("ticket="+ticket))
			}
			if late.statuses[401] != tickets {
				t.Errorf("one TTL and the leeway later: %v", late.statuses)
			}
		})
	}
}

func count(home map[string]string, node string) (n int) {
	for _, name := range home {
		if name == node {
			n++
		}
	}
	return n
}

// A node dies. Its tickets fail, the others are not touched; a client that mints anew
// gets in before long. When it is back it refuses what it may have taken before.
func TestAffinityNodeDies(t *testing.T) {
	slow(t)
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t, 3, false)
			b := f.startBalancer(name, "affinity")
			c := newTally()
			var before []string
			for range 60 {
				ticket := f.ticket()
				before = append(before, ticket)
				c.show(t, b, ticket, byQuery("ticket="+ticket))
			}
			dead := f.nodes[0]
			dead.kill()
			lost := newTally()
			for range 20 { // each a client that mints until it is in
				for {
					ticket := f.ticket()
					if lost.show(t, b, ticket, byQuery("ticket="+ticket)) == 101 {
						break
					}
				}
			}
			if lost.twice() != 0 || lost.statuses[101] != 20 || lost.statuses[401] != 0 {
				t.Errorf("with one of three nodes dead: %v", lost.statuses)
			}
			t.Logf("with one of three nodes dead 20 clients minted %d tickets", 20+lost.statuses[502]+lost.statuses[503])
			f.start(dead)
			for range 2 {
				for _, ticket := range before {
					c.show(t, b, ticket, byQuery("ticket="+ticket))
				}
			}
			if c.twice() != 0 {
				t.Errorf("%d tickets are accepted twice over the restart of a node", c.twice())
			}
		})
	}
}

// The minter picks the node, names it alone in the ticket and tells the page where it is.
// N tickets that are each shown ten times at once, and to every other node, are accepted
// N times, whatever nodes come and go.
func TestNodeAudience(t *testing.T) {
	t.Parallel()
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			f := startFleet(t, 3, true)
			b := f.startBalancer(name, "node-audience")
			var mu sync.Mutex
			nodes := []string{"gw-1", "gw-2", "gw-3"}
			mint, err := wsticket.NewMintHandler(wsticket.MintConfig{
				Signer: f.signer,
				Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
					user := r.Header.Get("User")
					mu.Lock()
					defer mu.Unlock()
					return &wsticket.Claims{Subject: user, Audiences: []string{rendezvous.Pick(user, nodes)}}, nil
				},
				URL: func(_ *http.Request, c *wsticket.Claims) string { return "/" + c.Audiences[0] + "/ws" },
			})
			if err != nil {
				t.Fatal(err)
			}
			ask := func(user string) (ticket, url string) {
				r := httptest.NewRequest("POST", "http://app.example/ticket", nil)
				r.Header.Set("User", user)
				w := httptest.NewRecorder()
				mint.ServeHTTP(w, r)
				var answer struct{ Ticket, URL string }
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.URL == "" {
					t.Fatalf("%s: %v", w.Body, err)
				}
				return answer.Ticket, answer.URL
			}
			const users, shown = 40, 10
			c, elsewhere := newTally(), newTally()
			var all sync.WaitGroup
			for n := range users {
				ticket, url := ask(fmt.Sprintf("user-%d", n))
				for range shown {
					all.Go(func() { c.show(t, b, ticket, showing{target: url + "?ticket=" + ticket}) })
				}
				for _, node := range f.nodes {
					if !strings.HasPrefix(url, "/"+node.setup.Name+"/") {
						all.Go(func() {
							elsewhere.show(t, b, ticket, showing{target: "/" + node.setup.Name + "/ws?ticket=" + ticket})
						})
					}
				}
			}
			all.Wait()
			if len(c.accepted) != users || c.twice() != 0 || c.statuses[101]+c.statuses[401] != users*shown {
				t.Errorf("of %d tickets %d are accepted, %d twice: %v", users, len(c.accepted), c.twice(), c.statuses)
			}
			if elsewhere.statuses[403] != 2*users {
				t.Errorf("at other nodes: %v, want 403", elsewhere.statuses)
			}
			if len(c.nodes) != 3 {
				t.Errorf("not all nodes had some: %v", c.nodes)
			}
			// A ticket that names its node and another one would be taken by both.
			both := f.ticket(func(c *wsticket.Claims) { c.Audiences = []string{"gw-1", "gw-2"} })
			for _, at := range []string{"gw-1", "gw-2"} {
				if status := c.show(t, b, both, showing{target: "/" + at + "/ws?ticket=" + both}); status != 403 {
					t.Errorf("a ticket for two nodes at %s: %d", at, status)
				}
			}
			// A node dies: its unspent tickets are lost, the minter leaves it out, and the
			// same users get in elsewhere; those of other nodes stay where they were.
			f.nodes[2].kill()
			mu.Lock()
			before := nodes
			nodes = slices.Clone(nodes[:2])
			mu.Unlock()
			for n := range users {
				user := fmt.Sprintf("user-%d", n)
				ticket, url := ask(user)
				if was := rendezvous.Pick(user, before); was != "gw-3" && !strings.HasPrefix(url, "/"+was+"/") {
					t.Errorf("%s moves from %s to %s", user, was, url)
				}
				if status := c.show(t, b, ticket, showing{target: url + "?ticket=" + ticket}); status != 101 {
					t.Errorf("a ticket for a node that is left: %d", status)
				}
			}
			if c.twice() != 0 {
				t.Errorf("%d tickets are accepted twice", c.twice())
			}
		})
	}
}
