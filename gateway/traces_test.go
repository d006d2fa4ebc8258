package gateway

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wsticket/wsticket"
)

// A receiver takes spans by OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	raw   bytes.Buffer
	spans map[string][]*otlp.Span // by name
	path  string
}

func newReceiver(t *testing.T) *receiver {
	rec := &receiver{spans: map[string][]*otlp.Span{}}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &request) != nil {
			t.Errorf("not spans: %v", err)
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		rec.path = r.URL.Path
		rec.raw.Write(body)
		for _, of := range request.ResourceSpans {
			for _, in := range of.ScopeSpans {
				for _, s := range in.Spans {
					rec.spans[s.Name] = append(rec.spans[s.Name], s)
				}
			}
		}
	}))
	t.Cleanup(rec.Close)
	return rec
}

func attributesOf(s *otlp.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		if n, ok := a.Value.Value.(interface{ GetIntValue() int64 }); ok {
			all[a.Key] = n.GetIntValue()
		} else if text := a.Value.GetStringValue(); text != "" {
			all[a.Key] = text
		} else {
			all[a.Key] = a.Value.GetIntValue()
		}
	}
	return all
}

// TestTraces: a handshake is a span, with those of the upstream and of the connection
// below it, and the backend is told which. Nothing of the client is in any span.
func TestTraces(t *testing.T) {
	rec := newReceiver(t)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	w := newVerifier(t, func(c *Config) { c.OTLP = rec.URL; c.TrustedProxies = []string{"192.0.2.0/24", "127.0.0.2"} })
	header := http.Header{"Cookie": {"session=secret-cookie"}, "Authorization": {"Bearer secret-bearer"}, "User-Agent": {"secret-agent"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Tracestate": {"secret-state=1"}}
	target := "/secret-path?secret-query=1&ticket=" + w.ticket(wsticket.Claims{Subject: "secret-subject", SessionID: "secret-session", Scope: "secret-scope"})
	conn := w.mustDial(target, header)
	w.echoes(conn)
	_, err := w.dial(target, header)
	w.wantStatus(err, 401)
	other := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.mint(200)
	if response := w.ask("/verify", "X-Original-Uri", "/ws?ticket="+w.ticket(wsticket.Claims{})); response.StatusCode != 400 { // not from a trusted peer
		t.Error(response.Status)
	}
	conn.Close()
	w.stop() // sends what there is; other is closed by it
	other.Close()

	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.path != "/v1/traces" {
		t.Errorf("sent to %s", rec.path)
	}
	for name, n := range map[string]int{"handshake": 3, "upstream": 2, "connection": 2, "mint": 1, "mint-auth": 1, "subrequest": 1} {
		if len(rec.spans[name]) != n {
			t.Errorf("%d spans %s, want %d", len(rec.spans[name]), name, n)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	accepted, refused := rec.spans["handshake"][0], rec.spans["handshake"][1]
	if a := attributesOf(accepted); a["wsticket.verdict"] != "accepted" || a["http.response.status_code"] != int64(101) {
		t.Errorf("%v", a)
	}
	if a := attributesOf(refused); a["wsticket.verdict"] != "replayed" || a["http.response.status_code"] != int64(401) {
		t.Errorf("%v", a)
	}
	upstream := rec.spans["upstream"][0]
	if !bytes.Equal(upstream.ParentSpanId, accepted.SpanId) || !bytes.Equal(rec.spans["mint-auth"][0].ParentSpanId, rec.spans["mint"][0].SpanId) {
		t.Error("a question is not below its request")
	}
	below := 0
	for _, c := range rec.spans["connection"] {
		for _, h := range rec.spans["handshake"] {
			if bytes.Equal(c.ParentSpanId, h.SpanId) {
				below++
			}
		}
	}
	if below != 2 {
		t.Errorf("%d connections are below their handshakes", below)
	}
	if strings.Contains(string(accepted.TraceId), "\x0a\xf7\x65\x19") {
		t.Error("a stranger's trace was gone on with")
	}
	seen := map[string]http.Header{}
	for _, r := range w.backend.requests() {
		seen[r.URL.Path] = r.Header
	}
	want := "00-" + hexOf(upstream.TraceId) + "-" + hexOf(upstream.SpanId) + "-01"
	if got := seen["/secret-path"]; got.Get("Traceparent") != want || got.Get("Tracestate") != "" {
		t.Errorf("the backend is told %q %q, want %q", got.Get("Traceparent"), got.Get("Tracestate"), want)
	}
	if got := seen["/me"].Get("Traceparent"); !strings.Contains(got, hexOf(rec.spans["mint-auth"][0].SpanId)) {
		t.Errorf("mint-auth is told %q", got)
	}
	raw := rec.raw.String()
	for _, secret := range []string{"secret", "127.0.0.1", target[len(target)-40:], target[40:80], "eyJ", "ada"} {
		if strings.Contains(raw, secret) {
			t.Errorf("%q is in the spans", secret)
		}
	}
	if !strings.Contains(raw, "wsticket-gateway") || !strings.Contains(raw, "deployment.environment.name") {
		t.Error("the resource is not told")
	}
}

// TestTracesOfTrusted: the trace of a trusted proxy is gone on with, and a failing
// upstream is an error.
func TestTracesOfTrusted(t *testing.T) {
	t.Parallel()
	rec := newReceiver(t)
	w := newVerifier(t, func(c *Config) { c.OTLP = rec.URL + "/here" })
	w.backend.mu.Lock()
	w.backend.upgrade = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	w.backend.mu.Unlock()
	_, err := w.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	w.wantStatus(err, 502)
	w.ask("/verify", "X-Original-Uri", "/ws?ticket="+w.ticket(wsticket.Claims{}))
	w.stop()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.path != "/here" || len(rec.spans["handshake"]) != 1 || len(rec.spans["upstream"]) != 1 || len(rec.spans["subrequest"]) != 1 {
		t.Fatalf("%s %v", rec.path, rec.spans)
	}
	for _, s := range []*otlp.Span{rec.spans["handshake"][0], rec.spans["upstream"][0]} {
		if hexOf(s.TraceId) != "0af7651916cd43dd8448eb211c80319c" || s.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR || s.Status.GetMessage() != "" {
			t.Errorf("%v", s)
		}
	}
	if a := attributesOf(rec.spans["subrequest"][0]); a["wsticket.verdict"] != "accepted" || a["http.response.status_code"] != int64(200) {
		t.Errorf("%v", a)
	}
}

// TestTracesOff: without the setting nothing is made, the client's own headers go on
// as they came, and it costs no memory.
func TestTracesOff(t *testing.T) {
	w := newWorld(t, nil)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), http.Header{"Traceparent": {parent}, "Tracestate": {"a=1"}}))
	if h := w.backend.requests()[0].Header; h.Get("Traceparent") != parent || h.Get("Tracestate") != "a=1" {
		t.Errorf("%v", h)
	}
	if w.g.traces != nil {
		t.Error("there are traces")
	}
	var off *traces
	rec, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	if n := testing.AllocsPerRun(100, func() {
		off.traced(rec, r, "handshake", true, func(_ http.ResponseWriter, r *http.Request) {
			ctx, s := off.ask(r.Context(), "upstream", r.Header)
			off.of(ctx).note(keyVerdict, "accepted")
			s.status(101)
			s.end()
			off.connection(ctx).end()
		})
	}); n != 0 {
		t.Errorf("%v allocations where no traces are made", n)
	}
}

// TestTracesNotReceived: a receiver that is away changes nothing for anybody, and is one
// line in the log.
func TestTracesNotReceived(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
	w := newWorld(t, func(c *Config) { c.OTLP = "http://127.0.0.1:1" })
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if log := w.logs.String(); !strings.Contains(log, "traces not sent") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

// TestTracesSettings: the standard variables say where traces go, the gateway's own
// settings count before them, and some of them cannot be followed.
func TestTracesSettings(t *testing.T) {
	for name, c := range map[string]struct {
		args, environ []string
		want, from    string
		fault         string
	}{
		"none":        {nil, nil, "", "", ""},
		"base":        {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/"}, "http://c:4318/v1/traces", "environment OTEL_EXPORTER_OTLP_ENDPOINT", ""},
		"of traces":   {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://d/x"}, "http://d/x", "environment OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""},
		"own":         {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "WSTICKET_OTLP=http://e"}, "http://e", "environment WSTICKET_OTLP", ""},
		"flag":        {[]string{"-otlp", "http://f"}, []string{"WSTICKET_OTLP=http://e"}, "http://f", "flag", ""},
		"off by flag": {[]string{"-otlp", ""}, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"}, "", "flag", ""},
		"no exporter": {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_TRACES_EXPORTER=none"}, "", "", ""},
		"grpc":        {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "", "", `otlp (environment OTEL_EXPORTER_OTLP_PROTOCOL): "grpc" is not spoken here`},
	} {
		l, err := Load(c.args, c.environ, nil)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || l.OTLP != c.want || string(l.from["otlp"]) != c.from {
			t.Errorf("%s: %q from %q, %v", name, l.OTLP, l.from["otlp"], err)
		}
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if made, err := newTraces(t.Context(), must(parseOTLP("http://c")), nil); made != nil || err != nil {
		t.Errorf("%v, %v", made, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hexOf(id []byte) string {
	const digits = "0123456789abcdef"
	var text []byte
	for _, b := range id {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}
