package integrations

import (
	"io"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/wsticket/wsticket"
)

// Chi has a Gate before one route of a chi router. Conceal is outermost, so that the
// router's logger, which writes the whole URL, has no ticket to write.
func Chi(gate *wsticket.Gate, handler http.Handler, out io.Writer) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(out, "", 0), NoColor: true}))
	r.Use(middleware.Recoverer)
	r.With(gate.Wrap).Method("GET", "/rooms/{room}", handler)
	return wsticket.Conceal(r)
}
