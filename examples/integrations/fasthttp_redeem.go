package integrations

import (
	"net/netip"

	"github.com/valyala/fasthttp"

	"github.com/wsticket/wsticket"
)

// redeem spends the ticket of a request and takes it out.
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
	found.Addr, _ = netip.AddrFromSlice(ctx.RemoteIP())
	if err := verifier.Redeem(ctx, found.Request, ticket); err != nil {
		return err
	}
	ctx.URI().SetQueryString(found.Query)
	return nil
}
