package wsticket

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/head"
	"github.com/wsticket/wsticket/internal/jose"
)

// Conceal returns a handler that takes tickets out of a request before next sees it:
// out of URL, RequestURI and a Form that was parsed, subprotocols, Authorization and
// cookies. A [Gate] within next still finds them, in the request's context, and comes to
// the same verdict as without Conceal. So whatever logs or traces requests, wherever it stands within
// Conceal, has no ticket to write down. Put it outermost:
//
//	server.Handler = wsticket.Conceal(otelhttp.NewHandler(logged(mux), "server"))
//
// It takes what stands under the name of a carrier, however the name is spelled, and is
// long enough to be a ticket. Of the tokens after Bearer it takes those whose header
// says that they are tickets. A short "ticket" parameter, such as a bug tracker uses,
// stays. Each handler within gets a shallow copy of the request, and no copy is made
// where there is nothing to take.
func Conceal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, conceal(r))
	})
}

// shortestTicket is the length of the shortest text that a Verifier could take: header
// and claims of one letter each, and the MAC of HS256.
var shortestTicket = base64Len(`{"alg":"HS256","kid":"a","typ":"ws-ticket+jwt"}`) + 1 +
	base64Len(`{"jti":"a","iat":1,"exp":2}`) + 1 + encodedLen(32)

func base64Len(json string) int { return encodedLen(len(json)) }

// concealed are the parts of a request as they came, for a Gate.
type concealed struct {
	target, query                     string
	protocols, authorization, cookies []string
}

type concealedKey struct{}

const redactedConcealed = "wsticket.concealed(redacted)"

func (concealed) String() string               { return redactedConcealed }
func (concealed) Format(f fmt.State, _ rune)   { f.Write([]byte(redactedConcealed)) }
func (concealed) LogValue() slog.Value         { return slog.StringValue(redactedConcealed) }
func (concealed) MarshalText() ([]byte, error) { return []byte(redactedConcealed), nil }
func concealedOf(ctx context.Context) *concealed {
	c, _ := ctx.Value(concealedKey{}).(*concealed)
	return c
}

// parts are those of the request as it came.
func (c *concealed) parts(r *http.Request) *parts {
	p := &parts{
		protocols:     bytesOf(c.protocols),
		authorization: bytesOf(c.authorization),
		cookies:       bytesOf(c.cookies),
		concealed:     true,
	}
	if t, ok := head.SplitTarget([]byte(c.target)); ok {
		p.path, p.query = t.Path, t.Query
	} else {
		p.path, p.query = []byte(r.URL.EscapedPath()), []byte(c.query)
	}
	return p
}

// targetOf is the request target as it came.
func targetOf(r *http.Request) string {
	if c := concealedOf(r.Context()); c != nil {
		return c.target
	}
	return r.RequestURI
}

// revealed is a context for those behind a Gate: the ticket is spent.
func revealed(ctx context.Context) context.Context {
	if concealedOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, concealedKey{}, (*concealed)(nil))
}

// conceal returns r, or a copy without its tickets.
func conceal(r *http.Request) *http.Request {
	if concealedOf(r.Context()) != nil { // Conceal within Conceal
		return r
	}
	query, inQuery := withoutTickets(r.URL.RawQuery)
	path, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	rawQuery, inTarget := withoutTickets(rawQuery)
	var lines [3][]string
	var inLines [3]bool
	some := inQuery || inTarget
	for i, h := range ticketHeaders {
		lines[i], inLines[i] = filterLines(r.Header[h.name], h.filter)
		some = some || inLines[i]
	}
	if !some {
		return r
	}
	before := &concealed{target: r.RequestURI, query: r.URL.RawQuery,
		protocols: r.Header["Sec-Websocket-Protocol"], authorization: r.Header["Authorization"], cookies: r.Header["Cookie"]}
	clean := r.WithContext(context.WithValue(r.Context(), concealedKey{}, before))
	if inQuery {
		clean.URL = new(url.URL)
		*clean.URL = *r.URL
		clean.URL.RawQuery = query
		clean.Form = formWithout(r.Form)
	}
	if inTarget {
		clean.RequestURI = path
		if rawQuery != "" {
			clean.RequestURI += "?" + rawQuery
		}
	}
	clean.Header = maps.Clone(r.Header)
	for i, h := range ticketHeaders {
		if inLines[i] {
			delete(clean.Header, h.name)
			if len(lines[i]) > 0 {
				clean.Header[h.name] = lines[i]
			}
		}
	}
	return clean
}

// formWithout returns a form, which somebody has parsed, without tickets.
func formWithout(form url.Values) url.Values {
	clean := maps.Clone(form)
	for name, values := range form {
		if !carrier.IsParameter([]byte(name)) {
			continue
		}
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return len(v) >= shortestTicket })
		if clean[name] = values; len(values) == 0 {
			delete(clean, name)
		}
	}
	return clean
}

var ticketHeaders = [...]struct {
	name   string
	filter func(string) (string, bool)
}{
	{"Sec-Websocket-Protocol", func(list string) (string, bool) { return without(list, ",", ", ", isTicketProtocol) }},
	{"Authorization", func(value string) (string, bool) { return "", isTicketToken(value) }},
	{"Cookie", func(list string) (string, bool) { return without(list, ";", "; ", isTicketCookie) }},
}

// filterLines applies a filter to the lines of a header, and says whether it took
// something. Lines of which nothing is left are gone.
func filterLines(lines []string, filter func(string) (string, bool)) (left []string, some bool) {
	for i, line := range lines {
		rest, took := filter(line)
		if took && !some {
			some = true
			left = append(left, lines[:i]...)
		}
		if !some {
			continue
		}
		if !took {
			left = append(left, line)
		} else if rest != "" {
			left = append(left, rest)
		}
	}
	return left, some
}

// without takes the items that match out of a list, and says whether there were some.
func without(list, separator, join string, match func(string) bool) (left string, some bool) {
	var kept []string
	for item := range strings.SplitSeq(list, separator) {
		if item = strings.Trim(item, " \t"); match(item) {
			some = true
		} else if item != "" {
			kept = append(kept, item)
		}
	}
	if !some {
		return list, false
	}
	return strings.Join(kept, join), true
}

func isTicketProtocol(item string) bool {
	return len(item) >= len(carrier.Prefix)+shortestTicket && strings.EqualFold(item[:len(carrier.Prefix)], carrier.Prefix)
}

func isTicketCookie(item string) bool {
	name, value, _ := strings.Cut(item, "=")
	return strings.EqualFold(strings.Trim(name, " \t"), carrier.CookieName) && len(value) >= shortestTicket
}

// isTicketToken says whether an Authorization value is a bearer token that calls itself
// a ticket. Other tokens are for somebody else.
func isTicketToken(value string) bool {
	value = strings.TrimLeft(value, " \t")
	end := strings.IndexAny(value, " \t")
	if end < 0 || !strings.EqualFold(value[:end], carrier.Scheme) {
		return false
	}
	header, _, _ := strings.Cut(strings.TrimLeft(value[end:], " \t"), ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil || len(text) > MaxTicketLen {
		return false
	}
	var h struct {
		Type string `json:"typ"`
	}
	return json.Unmarshal(text, &h) == nil && h.Type == jose.Type
}

// withoutTickets takes the parameters that carry tickets out of a query, whatever
// might separate them, and says whether there were some.
func withoutTickets(query string) (left string, some bool) {
	if len(query) < shortestTicket {
		return query, false
	}
	const ends = "&;#?"
	var kept strings.Builder
	for at := 0; at <= len(query); {
		start, separator := at, ""
		if at > 0 {
			separator = query[at-1 : at]
		}
		end := len(query)
		if i := strings.IndexAny(query[at:], ends); i >= 0 {
			end = at + i
		}
		name, value, _ := strings.Cut(query[start:end], "=")
		if len(value) >= shortestTicket && carrier.IsParameter([]byte(name)) {
			some = true
		} else {
			if kept.Len() > 0 || start > 0 && !some {
				kept.WriteString(separator)
			}
			kept.WriteString(query[start:end])
		}
		at = end + 1
	}
	if !some {
		return query, false
	}
	return kept.String(), true
}
