package prommetrics

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

const picture = "../docs/metrics-dashboard.svg"

// TestPicture: docs/metrics.md shows every panel of the dashboard. With
// WSTICKET_WRITE_DOCS=1 it draws the picture anew: a minute and a half of traffic,
// scraped by a real Prometheus that then answers the dashboard's queries.
func TestPicture(t *testing.T) {
	if os.Getenv("WSTICKET_WRITE_DOCS") != "" {
		draw(t)
	}
	text := read(t, picture)
	for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, panel := range panels(t) {
		if !strings.Contains(text, ">"+html.EscapeString(panel.Title)+"</text>") {
			t.Errorf("the picture has no panel %q; draw it anew: WSTICKET_WRITE_DOCS=1 go test -run TestPicture .", panel.Title)
		}
	}
	if lines := strings.Count(text, "<polyline"); lines < 25 {
		t.Errorf("the picture has only %d lines", lines)
	}
	if !strings.Contains(read(t, "../docs/metrics.md"), "(metrics-dashboard.svg)") {
		t.Error("docs/metrics.md does not show it")
	}
}

type panel struct {
	Title       string
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var board struct{ Panels []panel }
	if err := json.Unmarshal([]byte(read(t, dashboard)), &board); err != nil {
		t.Fatal(err)
	}
	return board.Panels
}

// queried stands for the variables of the dashboard.
var queried = strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "10s")

func draw(t *testing.T) {
	p := newPlant(t)
	site := httptest.NewServer(promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	t.Cleanup(site.Close)
	api := startPrometheus(t, program(t, "prometheus"), site.Listener.Addr().String())
	began := time.Now()
	const length = 90
	for second := range length {
		p.traffic(second)
		time.Sleep(time.Until(began.Add(time.Duration(second+1) * time.Second))) // for the other process to scrape
	}
	var charts []string
	for i, panel := range panels(t) {
		var all []series
		for _, target := range panel.Targets {
			found, err := askRange(api, queried.Replace(target.Expr), began.Add(12*time.Second), began.Add(length*time.Second))
			if err != nil {
				t.Fatalf("%s: %v", panel.Title, err)
			}
			for _, s := range found {
				s.name = legend(target.LegendFormat, s.labels)
				all = append(all, s)
			}
		}
		charts = append(charts, chart(panel, all, i%2*480, i/2*230))
	}
	height := (len(charts) + 1) / 2 * 230
	text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 %d" font-family="sans-serif" font-size="11" role="img" aria-label="The panels of the dashboard">`+"\n"+
		`<rect width="960" height="%d" fill="#fff"/>`+"\n%s</svg>\n", height, height, strings.Join(charts, ""))
	if err := os.WriteFile(picture, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// traffic is what comes in a second: a wave of handshakes, a few that are refused, and
// from the middle on a client that shows tickets twice.
func (p *plant) traffic(second int) {
	web, err := p.collector.Handshakes("web")
	if err != nil {
		p.t.Fatal(err)
	}
	handler := web.Wrap(p.gate, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		p.connections.Add(ticket, func(live.Cause) {})
	}))
	get := func(ticket string) {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/events?ticket="+ticket, nil))
	}
	for i := range 40 + int(25*math.Sin(float64(second)/8)) {
		session := fmt.Sprint("s", second, "-", i%10)
		text, err := p.signer.SignAt(time.Now().Add(-time.Duration(i%4)*time.Second), &wsticket.Claims{Subject: fmt.Sprint("user-", i), SessionID: session})
		if err != nil {
			p.t.Fatal(err)
		}
		get(text)
		if second > 40 && i%10 == 0 {
			get(text)
		}
		if i%8 == 0 {
			get("")
		}
		r := httptest.NewRequest("POST", "/ticket", nil)
		if i%9 != 0 {
			r.SetBasicAuth("ada", "")
		}
		p.mint.ServeHTTP(httptest.NewRecorder(), r)
	}
	for i := range 3 {
		p.connections.CloseSession(context.Background(), fmt.Sprint("s", second-10, "-", i))
	}
	if second == 60 {
		p.connections.CloseSubject(context.Background(), "user-1")
	}
	s := &p.storeStats
	s.Batches += 5
	s.Pending = second % 7
	s.Answered, s.Since = time.Now(), time.Now().Add(-time.Hour)
	s.Refused = maps.Clone(s.Refused)
	s.Refused["gone"] += uint64(second % 3)
}

type series struct {
	name   string
	labels map[string]string
	at     []float64 // seconds since 1970
	value  []float64
}

func askRange(api, query string, from, to time.Time) ([]series, error) {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(fmt.Sprintf("%s/api/v1/query_range?query=%s&start=%d&end=%d&step=1", api, url.QueryEscape(query), from.Unix(), to.Unix()))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var body struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return nil, err
	}
	if body.Status != "success" {
		return nil, fmt.Errorf("%s", body.Error)
	}
	var all []series
	for _, r := range body.Data.Result {
		s := series{labels: r.Metric}
		for _, v := range r.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
				s.at, s.value = append(s.at, at-float64(from.Unix())), append(s.value, value)
			}
		}
		if len(s.at) > 0 {
			all = append(all, s)
		}
	}
	return all, nil
}

// legend fills in the labels.
func legend(format string, labels map[string]string) string {
	for name, value := range labels {
		if name == "instance" {
			value = "gateway"
		}
		if name == "fingerprint" && len(value) > 12 {
			value = value[:12] + "…"
		}
		format = strings.ReplaceAll(format, "{{"+name+"}}", value)
	}
	return format
}

var colours = []string{"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f"}

// label is a number beside an axis that ends at highest.
func label(n, highest float64, unit string) string {
	if unit == " s" && highest < .1 {
		n, unit = n*1000, " ms"
	}
	digits := 0
	if highest < 100 || unit == " ms" {
		digits = 2
	}
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', digits, 64), ".00") + unit
}

// chart draws a panel with its corner at x, y.
func chart(p panel, all []series, x, y int) string {
	const left, top, width, height, seconds = 58, 28, 400, 140, 78
	highest := 0.0
	for _, s := range all {
		highest = max(highest, slices.Max(s.value))
	}
	if highest == 0 {
		highest = 1
	}
	unit := map[string]string{"s": " s", "ops": "/s", "reqps": "/s", "percentunit": ""}[p.FieldConfig.Defaults.Unit]
	var b strings.Builder
	fmt.Fprintf(&b, `<g transform="translate(%d %d)"><text x="%d" y="18" font-size="13" font-weight="bold">%s</text>`+"\n", x, y, left, html.EscapeString(p.Title))
	for _, part := range []float64{0, .5, 1} {
		at := top + height*(1-part)
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, at, width, left-5, at+4, label(part*highest, highest, unit))
	}
	for _, second := range []int{0, 30, 60} {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d s</text>`+"\n", left+width*second/seconds, top+height+15, second)
	}
	shown := 0
	for i, s := range all {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, colour)
		for i := range s.at {
			fmt.Fprintf(&b, "%.0f,%.1f ", left+width*s.at[i]/seconds, top+height*(1-max(s.value[i], 0)/highest))
		}
		b.WriteString(`"/>` + "\n")
		if shown < 48 { // what fits below
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+shown*8, top+height+32, colour, html.EscapeString(s.name))
			shown += max(len(s.name), 3) + 1
		}
	}
	b.WriteString("</g>\n")
	return b.String()
}
