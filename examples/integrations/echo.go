package integrations

import (
	"fmt"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/wsticket/wsticket"
)

// Echo has a Gate before one route of an echo server. Conceal is outermost, so that the
// server's logger, which writes the URI, has no ticket to write.
func Echo(gate *wsticket.Gate, handler http.Handler, out io.Writer) http.Handler {
	e := echo.New()
	e.Use(middleware.Recover(), middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogURI: true, LogStatus: true,
		LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
			_, err := fmt.Fprintln(out, v.URI, v.Status)
			return err
		},
	}))
	e.GET("/rooms/:room", echo.WrapHandler(gate.Wrap(handler)))
	return wsticket.Conceal(e)
}
