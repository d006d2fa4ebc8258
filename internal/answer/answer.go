// Package answer holds the refusals as they go over the wire: for each status
// one sequence of bytes, made once, that says the class of the refusal and
// nothing of its cause.
package answer

import (
	"net/http"
	"strconv"
)

// Answer is the refusal of one status.
type Answer struct {
	Status int
	Body   string // a problem
	Header [][2]string
	wire   []byte
}

// Bytes is the whole HTTP/1.1 answer. It must not be changed.
func (a *Answer) Bytes() []byte { return a.wire }

// Healthy is the answer to a health check.
func Healthy() *Answer { return &healthy }

var healthy = func() Answer {
	const body = "ok\n"
	a := Answer{Status: 200, Body: body}
	a.complete("text/plain; charset=utf-8")
	return a
}()

// Of returns the refusal of a status that the ticket format has, that of 500 for a
// gateway that is set up wrongly, and that of 503 for any other.
func Of(status int) *Answer {
	for i := range answers {
		if answers[i].Status == status {
			return &answers[i]
		}
	}
	return Of(http.StatusServiceUnavailable)
}

// Write answers a request of net/http. A server that speaks HTTP/2 has no use
// for the headers of a connection ([RFC 9113 section 8.2.2]).
//
// [RFC 9113 section 8.2.2]: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
func (a *Answer) Write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for _, f := range a.Header {
		if r.ProtoMajor == 1 || f[0] != "Connection" && f[0] != "Upgrade" {
			h.Set(f[0], f[1])
		}
	}
	w.WriteHeader(a.Status)
	w.Write([]byte(a.Body)) // the client may be gone, which is no one's concern here
}

var answers = func() []Answer {
	all := []Answer{
		{Status: 401, Body: Problem("invalid_ticket", 401), Header: [][2]string{{"WWW-Authenticate", "Bearer"}}},
		{Status: 400, Body: Problem("bad_request", 400)},
		{Status: 403, Body: Problem("forbidden", 403)},
		{Status: 405, Body: Problem("bad_request", 405), Header: [][2]string{{"Allow", "GET"}}},
		{Status: 408, Body: Problem("unavailable", 408)},
		{Status: 426, Body: Problem("bad_request", 426), Header: [][2]string{
			{"Upgrade", "websocket"}, {"Connection", "close, Upgrade"}, {"Sec-WebSocket-Version", "13"}}},
		{Status: 500, Body: Problem("unavailable", 500)},
		{Status: 431, Body: Problem("bad_request", 431)},
		{Status: 503, Body: Problem("unavailable", 503), Header: [][2]string{{"Retry-After", "1"}}},
		{Status: 505, Body: Problem("bad_request", 505)},
	}
	for i := range all {
		all[i].complete("application/problem+json")
	}
	return all
}()

// Problem is the body of a refusal: a problem of [RFC 9457] with its class.
//
// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
func Problem(class string, status int) string {
	return `{"type":"` + class + `","status":` + strconv.Itoa(status) + `}`
}

func (a *Answer) complete(contentType string) {
	if a.Status != http.StatusUpgradeRequired {
		a.Header = append(a.Header, [2]string{"Connection", "close"})
	}
	a.Header = append(a.Header,
		[2]string{"Cache-Control", "no-store"},
		[2]string{"Content-Type", contentType},
		[2]string{"Content-Length", strconv.Itoa(len(a.Body))})
	wire := "HTTP/1.1 " + strconv.Itoa(a.Status) + " " + http.StatusText(a.Status) + "\r\n"
	for _, f := range a.Header {
		wire += f[0] + ": " + f[1] + "\r\n"
	}
	a.wire = []byte(wire + "\r\n" + a.Body)
}
