// Package weborigin knows the serialized origins of [RFC 6454 section 6.2]: the
// ones that a browser, or the web view of an app, sends as Origin, and what people
// write in their place.
//
// [RFC 6454 section 6.2]: https://www.rfc-editor.org/rfc/rfc6454#section-6.2
package weborigin

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wsticket/wsticket/internal/quote"
)

// Sent says whether a page can have o as its Origin header: scheme://host or
// scheme://host:port, as [RFC 6454 section 6.2] spells it. "null" is not among them,
// because every sandboxed page and every data: URL sends it. The schemes of app
// shells (capacitor://localhost, file://) are. Sent does not allocate.
//
// [RFC 6454 section 6.2]: https://www.rfc-editor.org/rfc/rfc6454#section-6.2
func Sent(o string) bool { return usual(o) || sent(o) }

// usual says yes to an https origin without port: one look at each byte, as a signer
// asks for every ticket.
func usual(o string) bool {
	const scheme = "https://"
	if len(o) <= len(scheme) || o[:len(scheme)] != scheme {
		return false
	}
	all := plain
	for i := len(scheme); i < len(o); i++ {
		all &= class[o[i]]
	}
	return all != 0
}

func sent(o string) bool {
	sep := 0
	for sep < len(o) && class[o[sep]]&inScheme != 0 {
		sep++
	}
	if sep == 0 || o[0] < 'a' || len(o)-sep < 3 || o[sep:sep+3] != "://" {
		return false
	}
	scheme, authority := o[:sep], o[sep+3:]
	web := scheme == "https" || scheme == "http"
	switch {
	case scheme == "ws" || scheme == "wss":
		return false // schemes of the WebSocket's URL; the page has another
	case scheme == "file":
		return authority == ""
	case authority == "":
		return false
	}
	allowed := inHost
	if !web {
		allowed |= upperCase // an opaque host keeps its letters
	}
	colon := -1
	for i := range len(authority) {
		c := class[authority[i]]
		if c&allowed == 0 {
			return false
		}
		if authority[i] == ':' {
			colon = i
		}
	}
	if authority[0] == '[' { // an IPv6 address, and all of its colons
		end := strings.IndexByte(authority, ']')
		if end < 4 || strings.ContainsAny(authority[end+1:], "[]") || strings.ContainsAny(authority[1:end], "[-_~") {
			return false
		}
		if end == len(authority)-1 {
			return true
		}
		if colon != end+1 {
			return false
		}
	} else if strings.ContainsAny(authority, "[]") || colon >= 0 && strings.IndexByte(authority, ':') != colon || colon == 0 {
		return false
	}
	return colon < 0 || sentPort(scheme, authority[colon+1:])
}

// sentPort says whether a browser writes this port behind a host.
func sentPort(scheme, port string) bool {
	if port == "" || len(port) > 5 || port[0] == '0' && len(port) > 1 || port == defaultPort(scheme) {
		return false
	}
	n := 0
	for i := range len(port) {
		if port[i]-'0' > 9 {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return n <= 65535
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// Fault says why no page sends o, with the right spelling if it can be told. It
// returns nil if and only if Sent says yes.
func Fault(o string) error {
	if Sent(o) {
		return nil
	}
	if o == "null" {
		return errors.New(`is "null", which any sandboxed page sends: it tells nobody from anybody; leave it out`)
	}
	if strings.ContainsAny(o, "*") {
		return fmt.Errorf("is %s: patterns are not supported here; give the origin of the page", quote.Text(o))
	}
	if right := spell(o); right != "" {
		return fmt.Errorf("is %s, which no browser sends; write %s", quote.Text(o), quote.Text(right))
	}
	return fmt.Errorf("is %s, which no browser sends; write scheme://host or scheme://host:port as the page's location.origin says it, international names in their ASCII form (xn--…)", quote.Text(o))
}

// spell returns what a browser would send for the URL o of a page, or "".
func spell(o string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(o), "://")
	if !ok {
		scheme, rest = "https", strings.TrimSpace(o)
	}
	scheme = strings.ToLower(scheme)
	switch scheme {
	case "wss":
		scheme = "https"
	case "ws":
		scheme = "http"
	case "file":
		return "file://"
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#\\"); end >= 0 {
		authority = rest[:end]
	}
	if !ok && strings.HasSuffix(authority, ":") {
		return "" // a scheme
	}
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	if scheme == "https" || scheme == "http" {
		authority = strings.ToLower(authority)
	}
	if host, port, found := cutPort(authority); found {
		if n, err := strconv.Atoi(port); err == nil && n >= 0 && n <= 65535 {
			port = strconv.Itoa(n)
		}
		if authority = host; port != "" && port != defaultPort(scheme) {
			authority += ":" + port
		}
	}
	if o = scheme + "://" + authority; !Sent(o) {
		return ""
	}
	return o
}

func cutPort(authority string) (host, port string, found bool) {
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 || strings.IndexByte(authority[colon:], ']') >= 0 {
		return authority, "", false
	}
	return authority[:colon], authority[colon+1:], true
}

const (
	inScheme uint8 = 1 << iota
	inHost
	upperCase
	plain // in a host, and nothing but
)

var class = func() (t [256]uint8) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = inScheme | inHost | plain
		t[c-0x20] = upperCase
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = inScheme | inHost | plain
	}
	for _, c := range "+-." {
		t[c] |= inScheme
	}
	for _, c := range "-._~:[]" {
		t[c] |= inHost
	}
	for _, c := range "-." {
		t[c] |= plain
	}
	return t
}()
