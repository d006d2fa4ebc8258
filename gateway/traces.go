package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// traces make spans of what the gateway does, and send them by OTLP. nil makes none
// and costs nothing.
//
// A span tells what was done, how it ended and how long it took. It never tells who
// did it or where: no path, query, header, address or claim goes in, so that no ticket
// can.
type traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	carrier  propagation.TraceContext
}

// A span may be nil, and then does nothing.
type span struct{ trace.Span }

// parseOTLP reads where spans go. A URL without a path gets the one that the
// specification of OTLP names.
func parseOTLP(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Port() != "" && !isPort(u.Port()) {
		return nil, errors.New("it is no address of a receiver of OTLP over HTTP; give http://HOST:4318 or https://HOST:4318, and secrets by OTEL_EXPORTER_OTLP_HEADERS")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u, nil
}

// newTraces sends spans to a URL. The rest is told by the variables of OpenTelemetry:
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_… and
// OTEL_EXPORTER_OTLP_…. fault hears of what could not be sent.
func newTraces(ctx context.Context, to *url.URL, fault func(error)) (*traces, error) {
	if to == nil || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to.String()))
	if err != nil {
		return nil, err
	}
	service, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "wsticket-gateway")), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(fault))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(service))
	return &traces{provider: provider, tracer: provider.Tracer("github.com/wsticket/wsticket/gateway")}, nil
}

// request begins the span of a request. The trace of a peer that is not trusted is not
// gone on with: strangers would decide what is recorded.
func (t *traces) request(r *http.Request, name string, trusted bool) (*http.Request, *span) {
	if t == nil {
		return r, nil
	}
	ctx := r.Context()
	if trusted {
		ctx = t.carrier.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx), &span{s}
}

// ask begins the span of a request of the gateway's own, and puts it into the header
// of that request.
func (t *traces) ask(ctx context.Context, name string, header http.Header) (context.Context, *span) {
	if t == nil {
		return ctx, nil
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	header.Del("Tracestate")
	header.Del("Traceparent")
	t.carrier.Inject(ctx, propagation.HeaderCarrier(header))
	return ctx, &span{s}
}

// connection begins the span of a connection that was let in by the request of ctx.
func (t *traces) connection(ctx context.Context) *span {
	if t == nil {
		return nil
	}
	_, s := t.tracer.Start(ctx, "connection")
	return &span{s}
}

// What spans say beside their names, in words of the gateway's own.
const (
	keyVerdict = "wsticket.verdict" // accepted, or the code of a refusal
	keyCause   = "wsticket.cause"   // why a connection was ended from here
)

// status notes the status of an answer. Those of 500 and more are errors.
func (s *span) status(status int) {
	if s == nil || status == 0 {
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.SetStatus(codes.Error, "")
	}
}

// of returns the span that ctx is in.
func (t *traces) of(ctx context.Context) *span {
	if t == nil {
		return nil
	}
	return &span{trace.SpanFromContext(ctx)}
}

// note adds an attribute. Keys and values are words of the gateway's own.
func (s *span) note(key, value string) {
	if s != nil {
		s.SetAttributes(attribute.String(key, value))
	}
}

// failed notes that there was no answer. What the error says may hold an address.
func (s *span) failed() {
	if s != nil {
		s.SetStatus(codes.Error, "")
	}
}

func (s *span) end() {
	if s != nil {
		s.End()
	}
}

// close sends what is left, for as long as ctx allows.
func (t *traces) close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	t.provider.Shutdown(ctx)
}

// traced answers a request within a span that says its status.
func (t *traces) traced(w http.ResponseWriter, r *http.Request, name string, trusted bool, answer func(http.ResponseWriter, *http.Request)) {
	if t == nil {
		answer(w, r)
		return
	}
	r, s := t.request(r, name, trusted)
	noted := &statusNoted{ResponseWriter: w}
	defer func() {
		s.status(noted.status)
		s.end()
	}()
	answer(noted, r)
}
