package integrations

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/wsticket/wsticket"
)

// Gin has a Gate before one route of a gin engine. Conceal is outermost, so that the
// engine's logger, which writes the query, has no ticket to write.
func Gin(gate *wsticket.Gate, handler http.Handler, out io.Writer) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.LoggerWithWriter(out), gin.RecoveryWithWriter(out))
	engine.GET("/rooms/:room", gin.WrapH(gate.Wrap(handler)))
	return wsticket.Conceal(engine)
}
