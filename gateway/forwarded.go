package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the peers whose forwarding headers are believed. The address of a unix
// socket is none: who may connect to one is trusted by its permissions.
type proxies []netip.Prefix

func (p proxies) trust(remote string) bool {
	if remote == "" || remote == "@" || strings.HasPrefix(remote, "/") {
		return len(p) > 0
	}
	addr := addrOf(remote)
	return addr.IsValid() && slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// addrOf reads an address, with or without a port.
func addrOf(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if both, err := netip.ParseAddrPort(text); err == nil {
		return both.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// client is the address that a request came from: the peer's, or behind trusted
// proxies the last one in X-Forwarded-For that is none of them. Where that header
// cannot be read the address is unknown, and a ticket that is bound to one is refused.
func (p proxies) client(r *http.Request) netip.Addr {
	if !p.trust(r.RemoteAddr) {
		return addrOf(r.RemoteAddr)
	}
	hops := tokens(r.Header["X-Forwarded-For"])
	for _, hop := range slices.Backward(hops) {
		addr := addrOf(hop)
		if !addr.IsValid() || !p.trust(addr.String()) {
			return addr
		}
	}
	return addrOf(r.RemoteAddr)
}

// forwarding are the names, folded, under which a request says where it came from.
var forwarding = map[string]bool{"forwarded": true, "x-forwarded-for": true, "x-forwarded-proto": true, "x-forwarded-host": true, "x-forwarded-port": true,
	"x-forwarded-prefix": true, "x-forwarded-uri": true, "x-forwarded-method": true, "x-forwarded-ssl": true, "x-forwarded-server": true,
	"x-original-uri": true, "x-original-url": true, "x-original-host": true, "x-real-ip": true, "x-client-ip": true, "true-client-ip": true,
	"x-cluster-client-ip": true, "cf-connecting-ip": true, "fastly-client-ip": true, "x-scheme": true}

// saysWhence is for what strangers send, under the names that frameworks and clouds read
// where a request came from, where it went to, and who sent it.
func saysWhence(like string) bool {
	for _, begin := range []string{"x-forwarded", "x-original-", "x-envoy-"} {
		if strings.HasPrefix(like, begin) {
			return true
		}
	}
	for _, end := range []string{"client-ip", "clientip", "user-ip", "remote-ip", "remote-addr", "originating-ip", "connecting-ipv6", "forwarded-for"} {
		if strings.HasSuffix(like, end) {
			return true
		}
	}
	switch like {
	case "x-rewrite-url", "x-url-scheme", "x-host", "x-real-port", "front-end-https", "remote-user", "x-remote-user":
		return true
	}
	return false
}

// forward sets the headers that tell the backend where a request came from. What a
// peer that is not trusted sent under their names is gone.
func (p proxies) forward(r *http.Request, h http.Header) {
	peer := ""
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		peer = host
	}
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	host := r.Host
	hops := []string{}
	trusted := p.trust(r.RemoteAddr)
	if trusted {
		hops = tokens(r.Header["X-Forwarded-For"])
		if given := r.Header["X-Forwarded-Proto"]; len(given) == 1 && (given[0] == "http" || given[0] == "https") {
			proto = given[0]
		}
	}
	if peer != "" {
		hops = append(hops, peer)
	}
	for name := range h {
		if like := folded(name); forwarding[like] || !trusted && saysWhence(like) {
			delete(h, name)
		}
	}
	if len(hops) > 0 {
		h.Set("X-Forwarded-For", strings.Join(hops, ", "))
	}
	h.Set("X-Forwarded-Proto", proto)
	h.Set("X-Forwarded-Host", host)
}
