package integrations

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/wsticket/wsticket"
)

// Otelhttp traces what comes to a Gate and what gets through. Conceal is outermost, so
// that no span has a ticket in it.
func Otelhttp(gate *wsticket.Gate, handler http.Handler, spans trace.TracerProvider) http.Handler {
	provider := otelhttp.WithTracerProvider(spans)
	inside := otelhttp.NewHandler(handler, "connection", provider)
	outside := otelhttp.NewHandler(gate.Wrap(inside), "handshake", provider)
	return wsticket.Conceal(outside)
}
