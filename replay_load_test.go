package wsticket

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// falseRefusals computes which share of fresh tickets gets refused as replayed when a
// slot sees load times the sized peak. It follows the slot as it fills.
//
// The number of tickets that have come to a bucket is Poisson distributed. A ticket
// goes to the filter when eight came before it; the filter refuses it when all its
// bits are set already.
func falseRefusals(load float64) float64 {
	const steps = 4000
	bitsPerTicket := -math.Log(filterRate) / (math.Ln2 * math.Ln2)
	hashes := math.Ceil(math.Ln2 * bitsPerTicket)
	bitsPerPeak := filterLoad * bitsPerTicket
	var refused float64
	for i := range steps {
		mean := bucketLoad * load * (float64(i) + 0.5) / steps
		full, excess := poissonAbove(mean)
		inFilter := excess / bucketLoad // as a share of the peak
		refused += full * math.Pow(-math.Expm1(-hashes*inFilter/bitsPerPeak), hashes)
	}
	return refused / steps
}

// poissonAbove returns P(N >= 8) and E[max(0, N-8)] for N with this mean.
func poissonAbove(mean float64) (full, excess float64) {
	p, below, short := math.Exp(-mean), 0.0, 0.0
	for n := range bucketLanes {
		below += p
		short += p * float64(bucketLanes-n)
		p *= mean / float64(n+1)
	}
	return 1 - below, mean - bucketLanes + short
}

// overflowShare is the share of the tickets that are in the filter when a slot has seen
// load times the sized peak.
func overflowShare(load float64) float64 {
	_, excess := poissonAbove(bucketLoad * load)
	return excess / (bucketLoad * load)
}

// Fresh tickets refused, measured against the formula, up to ten times the peak.
func TestReplayRefusalRate(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine and millions of tickets")
	}
	const peak = 64 * 1500
	for _, load := range []int{1, 2, 4, 6, 8, 10} {
		c := smallCache(t, peak, 64, 10, 2)
		refused := 0
		n := peak * load
		for i := range n {
			if spendOf(c, replayTicket(uint64(i), replayStart, 10)) != nil {
				refused++
			}
		}
		want := falseRefusals(float64(load)) * float64(n)
		t.Logf("%2d times the peak: %d of %d refused, computed %.3g", load, refused, n, want)
		// Chance: four standard deviations and a few. The parts are not quite equally
		// full, which the formula leaves out: 10%.
		if slack := 4*math.Sqrt(want) + 3 + want/10; math.Abs(float64(refused)-want) > slack {
			t.Errorf("%d times the peak: %d of %d refused, computed %.1f", load, refused, n, want)
		}
		if got, want := c.Stats().OverflowShare(), overflowShare(float64(load)); math.Abs(got-want) > 0.003+want/50 {
			t.Errorf("%d times the peak: overflow share %.4f, computed %.4f", load, got, want)
		}
	}
}

// What the doc comments and the documentation say.
func TestReplayRefusalFormula(t *testing.T) {
	for _, tt := range []struct{ load, low, high float64 }{
		{1, 0, 1e-20},
		{2, 0, 1e-11},
		{4, 3.2e-8, 3.6e-8},
		{8, 0.0066, 0.0068},
		{10, 0.0375, 0.0385},
	} {
		if got := falseRefusals(tt.load); got < tt.low || got > tt.high {
			t.Errorf("falseRefusals(%v) = %.3g, want %.3g to %.3g", tt.load, got, tt.low, tt.high)
		}
	}
	for load, want := range map[float64]float64{1: 0.0084, 2: 0.14, 4: 0.50} {
		if got := overflowShare(load); math.Abs(got-want) > 0.01*want {
			t.Errorf("overflowShare(%v) = %.4f, want %.3f", load, got, want)
		}
	}
}

func TestReplayMemory(t *testing.T) {
	for _, tt := range []struct {
		peak   int
		maxTTL time.Duration
		low    float64 // bytes for each ticket a second
		high   float64
	}{
		{100_000, 10 * time.Second, 385, 405},
		{100_000, 60 * time.Second, 1520, 1600},
		{1_000_000, 10 * time.Second, 385, 405},
	} {
		s := int64(tt.maxTTL / time.Second)
		size := sizeReplay(tt.peak, s, 2, replayParts(tt.peak))
		if got := float64(size.bytes()) / float64(tt.peak); got < tt.low || got > tt.high {
			t.Errorf("%d/s, %v: %.1f bytes for each ticket a second, want %v to %v", tt.peak, tt.maxTTL, got, tt.low, tt.high)
		}
		if lanes := size.partLanes() * 8; lanes > maxPartBytes+64 {
			t.Errorf("%d/s: a part of %d bytes", tt.peak, lanes)
		}
	}
	for _, peak := range []int{1, 7, 1000, 99_999, 10_000_000} {
		size := sizeReplay(peak, 10, 2, replayParts(peak))
		if places := uint64(size.parts) * size.partLanes(); places < 2*uint64(peak) {
			t.Errorf("peak %d: %d lanes are not twice as many", peak, places)
		}
	}

	// Memory for a long MaxTTL is not used by tickets that live short: the frame that
	// was freed last goes first. 31 bytes a live ticket is what ten seconds cost.
	const peak = 20_000
	c, err := NewReplayCache(ReplayConfig{PeakPerSecond: peak, MaxTTL: time.Minute, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	live := int64(0)
	n := uint64(0)
	for now := int64(replayStart); now < replayStart+60; now++ {
		for range peak {
			n++
			_ = spendOf(c, replayTicket(n, now, 10))
		}
		live = min(peak*10, live+peak)
	}
	if st := c.Stats(); st.BytesUsed > 31*live || st.FramesUsed > 13 {
		t.Errorf("%d frames with %d bytes used for %d live tickets: %.1f each", st.FramesUsed, st.BytesUsed, live, float64(st.BytesUsed)/float64(live))
	}
}

// Fifty times the sized peak in one slot, then all of it again.
func TestReplayFlood(t *testing.T) {
	const peak = 64 * 40
	c := smallCache(t, peak, 64, 10, 2)
	for i := range uint64(50 * peak) {
		_ = spendOf(c, replayTicket(i, replayStart, 10))
	}
	st := c.Stats()
	if st.Accepted != st.Live || st.Accepted < peak || st.Accepted+st.Replayed != 50*peak {
		t.Errorf("of %d: %+v", 50*peak, st)
	}
	for i := range uint64(50 * peak) {
		if err := spendOf(c, replayTicket(i, replayStart, 10)); err != ErrReplayed {
			t.Fatalf("ticket %d, again: %v", i, err)
		}
	}
	// The next slot knows nothing of it.
	for i := range uint64(peak) {
		wantSpend(t, c, replayTicket(i, replayStart+20, 10), nil)
	}
}

// A million fresh tickets at the sized peak, used at every age they can have.
func TestReplayFresh(t *testing.T) {
	const peak, seconds, maxTTL, leeway = 20_000, 50, 10, 2
	c := smallCache(t, peak, 64, maxTTL, leeway)
	refused := 0
	n := uint64(0)
	for now := int64(replayStart); now < replayStart+seconds; now++ {
		for i := range int64(peak) {
			n++
			// The slots that are just over come last, after the other ones were opened.
			age := maxTTL - (maxTTL+leeway)*(peak-1-i)/(peak-1)
			if i > peak*9/10 {
				age = maxTTL + leeway
			}
			if spendOf(c, replayTicket(n, now-age, maxTTL).at(now)) != nil {
				refused++
			}
		}
	}
	if refused > 2 {
		t.Errorf("%d of %d fresh tickets refused", refused, n)
	}
}

// Frames that are used over and over hold nothing of what was in them before.
func TestReplayReuse(t *testing.T) {
	const peak, parts, maxTTL, leeway = 64 * 300, 64, 10, 2
	c := smallCache(t, peak, parts, maxTTL, leeway)
	n := uint64(0)
	now := int64(replayStart)
	for range 50 * maxTTL {
		now++
		for range peak / 8 { // for speed; every eighth second at the full peak
			n++
			_ = spendOf(c, replayTicket(n, now, maxTTL))
		}
		if now%8 == 0 {
			for range peak * 7 / 8 {
				n++
				_ = spendOf(c, replayTicket(n, now, maxTTL))
			}
			if share := c.Stats().OverflowShare(); share > 0.015 {
				t.Fatalf("overflow share %.4f after %d seconds", share, now-replayStart)
			}
		}
	}
	// A few tickets in a slot whose frame was full before: all words must be theirs.
	now = now + 8 - now%8
	for range peak {
		n++
		_ = spendOf(c, replayTicket(n, now, maxTTL))
	}
	full := c.frameOf(now + maxTTL)
	overflow := uint32(0)
	for i := range full.parts {
		overflow += full.parts[i].overflow
	}
	if overflow == 0 {
		t.Fatal("no part of the full frame overflowed: the test does not do what it is for")
	}
	later := now + maxTTL + leeway + 1
	for range parts * 20 {
		n++
		_ = spendOf(c, replayTicket(n, later, maxTTL))
	}
	f := c.frameOf(later + maxTTL)
	if f != full {
		// Frames free up in the order of their numbers; the full one is taken soon.
		for f != full && later < now+100 {
			later++
			for range parts * 20 {
				n++
				_ = spendOf(c, replayTicket(n, later, maxTTL))
			}
			f = c.frameOf(later + maxTTL)
		}
		if f != full {
			t.Fatal("the full frame was not used again")
		}
	}
	words, live := 0, 0
	for _, lane := range f.lanes {
		if lane != 0 {
			words++
		}
	}
	for i := range f.parts {
		p := &f.parts[i]
		if p.slot != later+maxTTL {
			t.Fatalf("no ticket came to part %d", i)
		}
		live += int(p.live - p.overflow)
		if bits := p.filter.BitSet().Count(); bits > uint(p.overflow)*c.size.hashes {
			t.Errorf("part %d: %d bits in the filter for %d tickets", i, bits, p.overflow)
		}
	}
	if words != live {
		t.Errorf("%d lanes in use for %d tickets", words, live)
	}
}

func TestReplayAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var guard ReplayGuard
	n := uint64(0)
	now := int64(replayStart)
	use := func() { n++; _ = guard.Spend(t.Context(), replayTicket(n, now, 10)) }
	for _, tt := range []struct {
		name  string
		peak  int
		spend func()
	}{
		{"steady", 100_000, use},
		{"overflow", 1, use},
		{"new slot each", 1000, func() { now++; use() }},
		{"gap each, so that closed slots merge", 1000, func() { now += 40; use() }},
		{"clock walks back, so that frames are lost", 1000, func() { now--; use() }},
		{"replayed", 1000, func() { use(); n--; use() }},
		{"issued before start", 1000, func() { _ = guard.Spend(t.Context(), Use{}) }},
		{"out of reach", 1000, func() { _ = guard.Spend(t.Context(), Use{Issued: now, Expires: now + 1000, Now: now}) }},
	} {
		c := smallCache(t, tt.peak, 1, 10, 2)
		c.notAfter = 0
		guard = c
		if allocs := testing.AllocsPerRun(2000, tt.spend); allocs != 0 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
		if st := c.Stats(); tt.name == "overflow" && st.LiveOverflow < 50 {
			t.Errorf("%s: only %d in the filter", tt.name, st.LiveOverflow)
		}
	}
}

var updateReplayDocs = flag.Bool("update-replay-docs", false, "write the tables and the chart of docs/single-use.md")

const (
	replayDoc   = "docs/single-use.md"
	replayChart = "docs/single-use-refusals.svg"
)

// The numbers of the documentation are computed here, so that it cannot say others.
func TestReplayDocs(t *testing.T) {
	doc, err := os.ReadFile(replayDoc)
	if err != nil {
		t.Fatal(err)
	}
	text := string(doc)
	for name, table := range map[string]string{"memory": memoryTable(), "refusals": refusalTable()} {
		open, end := "<!-- "+name+": computed -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(text, open)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for the table %q", replayDoc, name)
		}
		text = before + open + table + end + after
	}
	for file, want := range map[string]string{replayDoc: text, replayChart: refusalChart()} {
		if *updateReplayDocs {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is out of date (%v): run go test -run TestReplayDocs -update-replay-docs", file, err)
		}
	}
}

func memoryTable() string {
	var b strings.Builder
	b.WriteString("| `PeakPerSecond` | `MaxTTL` 10 s: reserved | `MaxTTL` 60 s: reserved | resident at that load, tickets of 10 s |\n|---:|---:|---:|---:|\n")
	for _, peak := range []int{1_000, 10_000, 100_000, 1_000_000} {
		row := func(maxTTL int64) replaySize { return sizeReplay(peak, maxTTL, 2, 64) }
		ten, sixty := row(10), row(60)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", commas(peak), megabytes(ten.bytes()), megabytes(sixty.bytes()), megabytes(13*ten.frameBytes()))
	}
	return b.String()
}

func commas(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", commas(n/1000), n%1000)
}

func megabytes(n int64) string {
	if n < 10_000_000 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

func refusalTable() string {
	var b strings.Builder
	b.WriteString("| load of a slot, as a multiple of `PeakPerSecond` | tickets in the filter | fresh tickets refused |\n|---:|---:|---:|\n")
	for _, load := range []float64{1, 2, 3, 4, 5, 6, 8, 10, 15, 20} {
		rate := falseRefusals(load)
		said := fmt.Sprintf("%.2g%%", 100*rate)
		switch {
		case rate < 1e-12:
			said = "none"
		case rate < 1e-4:
			said = fmt.Sprintf("1 in %s", thousands(1/rate))
		}
		fmt.Fprintf(&b, "| %g | %.1f%% | %s |\n", load, 100*overflowShare(load), said)
	}
	return b.String()
}

// thousands writes a large number in two digits: 7.7 million.
func thousands(x float64) string {
	units := []string{"", " thousand", " million", " billion", " trillion"}
	u := 0
	for x >= 1000 && u < len(units)-1 {
		x /= 1000
		u++
	}
	digits := 1 - int(math.Floor(math.Log10(x)))
	scale := math.Pow(10, float64(digits))
	return fmt.Sprintf("%.*f%s", max(0, digits), math.Round(x*scale)/scale, units[u])
}

// refusalChart draws the refusals over the load, the rate on a logarithmic scale.
func refusalChart() string {
	const (
		width, height            = 640, 320
		left, right, top, bottom = 80, 20, 20, 50
		maxLoad                  = 20.0
		low, high                = -9.0, 0.0 // powers of ten
	)
	x := func(load float64) float64 { return left + (width-left-right)*load/maxLoad }
	y := func(rate float64) float64 {
		return top + (height-top-bottom)*(high-math.Log10(rate))/(high-low)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="Share of fresh tickets refused over the load of a slot">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	for power := int(low); power <= int(high); power += 3 {
		yy := y(math.Pow(10, float64(power)))
		label := map[int]string{0: "all", -3: "1 in 1,000", -6: "1 in 10⁶", -9: "1 in 10⁹"}[power]
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, yy, width-right, left-8, yy+4, label)
	}
	for load := 0.0; load <= maxLoad; load += 2 {
		fmt.Fprintf(&b, `<path d="M%.1f %dv5" stroke="#555"/><text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", x(load), height-bottom, x(load), height-bottom+20, load)
	}
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#555"/>`+"\n", left, top, height-bottom, width-right)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">load of a slot, as a multiple of PeakPerSecond</text>`+"\n", (left+width-right)/2, height-10)
	b.WriteString(`<path fill="none" stroke="#b00" stroke-width="2" d="`)
	command := "M"
	for load := 1.0; load <= maxLoad; load += 0.25 {
		if rate := falseRefusals(load); rate >= math.Pow(10, low) {
			fmt.Fprintf(&b, "%s%.1f %.1f", command, x(load), y(rate))
			command = "L"
		}
	}
	b.WriteString("\"/>\n</svg>\n")
	return b.String()
}
