package rendezvous_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wsticket/wsticket/rendezvous"
)

func TestVectors(t *testing.T) {
	text, err := os.ReadFile("vectors.txt") // written by vectors.py, which shares no code
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if len(fields) != 3 {
			continue
		}
		n++
		nodes := strings.Split(fields[2], ",")
		for range 3 { // the order means nothing
			if got := rendezvous.Pick(fields[0], nodes); got != fields[1] {
				t.Errorf("Pick(%q, %q) = %q, want %q", fields[0], nodes, got, fields[1])
			}
			rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		}
	}
	if n != 48 {
		t.Errorf("%d vectors, want 48", n)
	}
	if got := rendezvous.Pick("ada", nil); got != "" {
		t.Errorf("of no nodes it picks %q", got)
	}
}

// A node that goes moves its own keys, to all others alike; and they are spread evenly.
func TestMoves(t *testing.T) {
	var nodes []string
	for n := range 10 {
		nodes = append(nodes, fmt.Sprintf("node-%d", n))
	}
	const keys = 20_000
	left, gone := map[string]int{}, slices.Delete(slices.Clone(nodes), 3, 4)
	for n := range keys {
		key := fmt.Sprintf("user-%d", n)
		before, after := rendezvous.Pick(key, nodes), rendezvous.Pick(key, gone)
		left[before]++
		if before != nodes[3] && after != before {
			t.Fatalf("%s moves from %s to %s", key, before, after)
		}
		if before == nodes[3] {
			left["then "+after]++
		}
	}
	for node, n := range left {
		want := keys / 10
		if strings.HasPrefix(node, "then ") {
			want = left[nodes[3]] / 9
		}
		if n < want*7/10 || n > want*13/10 {
			t.Errorf("%s has %d keys, want about %d", node, n, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	nodes := []string{"gw-1", "gw-2", "gw-3"}
	if a := testing.AllocsPerRun(100, func() { rendezvous.Pick("user-4711", nodes) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{3, 100} {
		var nodes []string
		for i := range n {
			nodes = append(nodes, fmt.Sprintf("gw-%d.example", i))
		}
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			for b.Loop() {
				rendezvous.Pick("user-4711", nodes)
			}
		})
	}
}
