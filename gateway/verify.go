package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// verify answers the subrequest of a proxy: may this handshake go on, and whose is it?
// 200 with every identity header, empty ones too, or the refusal. It never upgrades,
// whatever the subrequest carries, and nothing of it may be cached: a cached 200 would
// let a used ticket in.
func (g *Gateway) verify(w http.ResponseWriter, r *http.Request, s *state) {
	began := time.Now()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	for _, name := range identityHeaders {
		header.Set(name, "") // where somebody copies them from a refusal, they say nobody
	}
	target, err := s.originalTarget(r)
	if err != nil {
		g.metrics.badSubrequests.Inc()
		g.log.badSubrequest(r, err)
		refuse(w, http.StatusBadRequest)
		return
	}
	original := r.Clone(r.Context())
	original.Method = http.MethodGet
	original.Proto, original.ProtoMajor, original.ProtoMinor = "HTTP/1.1", 1, 1
	original.URL, original.RequestURI = target, target.RequestURI()
	original.Body, original.ContentLength, original.TransferEncoding = http.NoBody, 0, nil
	for _, name := range []string{"Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Sec-Websocket-Key",
		"Sec-Websocket-Version", "Sec-Websocket-Extensions"} {
		original.Header.Del(name)
	}
	ticket, err := s.verifyGate.Redeem(original)
	if err != nil {
		g.metrics.subrequests.observed.Observe(began, nil)
		s.verifyGate.Refuse(w, r, err)
		return
	}
	g.metrics.subrequests.accepted(began, ticket)
	g.traces.of(r.Context()).note(keyVerdict, "accepted")
	setIdentity(header, ticket)
	w.WriteHeader(http.StatusOK)
}

var (
	errUntrustedPeer = errors.New("the subrequest comes from a peer that is not in trusted-proxy; add the address of the proxy there")
	errNoTarget      = errors.New("the subrequest names no original target; have the proxy send X-Forwarded-Uri, X-Original-URI or X-Original-URL, or the path behind verify-path")
	errTargets       = errors.New("the headers of the subrequest name different original targets; have the proxy send one, and drop what the client sent under the other names")
	errBadTarget     = errors.New("the original target of the subrequest is no path that begins with a slash")
)

// originalTarget is what the client asked the proxy for. Those who set it name it
// differently: X-Forwarded-Uri (Traefik, Caddy), X-Original-URI or X-Original-URL
// (nginx, by hand), the path behind verify-path (Envoy with a path_prefix). If two
// disagree, one of them may be the client's own.
func (s *state) originalTarget(r *http.Request) (*url.URL, error) {
	if !s.proxies.trust(r.RemoteAddr) {
		return nil, errUntrustedPeer
	}
	var found []string
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"} {
		found = append(found, r.Header[name]...)
	}
	// A query of the subrequest itself does not count: nginx puts the client's there.
	if behind := strings.TrimPrefix(r.RequestURI, s.config.VerifyPath); strings.HasPrefix(behind, "/") {
		found = append(found, behind)
	}
	if len(found) == 0 {
		return nil, errNoTarget
	}
	for i, target := range found {
		if i > 0 && pathAndQuery(target) != pathAndQuery(found[0]) {
			return nil, errTargets
		}
	}
	target, err := url.ParseRequestURI(pathAndQuery(found[0]))
	if err != nil || !strings.HasPrefix(target.Path, "/") || target.Host != "" {
		return nil, errBadTarget
	}
	return target, nil
}

// pathAndQuery takes scheme and host from a target, as X-Original-URL may have them.
func pathAndQuery(target string) string {
	for _, scheme := range []string{"http://", "https://", "ws://", "wss://"} {
		if len(target) >= len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) {
			rest := target[len(scheme):]
			if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
				return rest[i:]
			}
			return "/"
		}
	}
	return target
}
