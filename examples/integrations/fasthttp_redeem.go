package integrations

import (
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/wsticket/wsticket"
)

// redeem spends the ticket of a request and takes it out, so that what comes behind, such
// as a logger, has none. Where there are several, or a page that may not connect, they stay.
func redeem(ctx *fasthttp.RequestCtx, finder *wsticket.Finder, verifier *wsticket.Verifier, ticket *wsticket.Ticket) error {
	header := &ctx.Request.Header
	found, err := finder.Find(wsticket.Parts{
		Method: string(header.Method()), Target: string(header.RequestURI()), Proto: string(header.Protocol()), Host: string(header.Host()),
		Headers: func(yield func(name, value string) bool) {
			for name, value := range header.All() {
				if !yield(string(name), string(value)) {
					return
				}
			}
		},
	})
	if err != nil {
		return err
	}
	path, _, _ := strings.Cut(string(header.RequestURI()), "?")
	if found.Query != "" {
		path += "?" + found.Query
	}
	ctx.Request.SetRequestURI(path)
	if found.Header != "" {
		header.Del(found.Header)
		for _, line := range found.Lines {
			header.Add(found.Header, line)
		}
	}
	found.Addr, _ = netip.AddrFromSlice(ctx.RemoteIP())
	return verifier.Redeem(ctx, found.Request, ticket)
}
