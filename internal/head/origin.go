package head

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wsticket/wsticket/internal/weborigin"
)

// Origins is the policy of a gateway on the Origin header ([RFC 6454]; [RFC 6455
// section 10.2]). The zero Origins lets in the pages of the host that the request
// names. With a list, it lets in the pages of the list and no others.
//
// [RFC 6454]: https://www.rfc-editor.org/rfc/rfc6454#section-7
// [RFC 6455 section 10.2]: https://www.rfc-editor.org/rfc/rfc6455#section-10.2
type Origins struct {
	exact    []string
	patterns []pattern
}

// A pattern is an origin with a "*." before its host. It stands for one or more
// labels there.
type pattern struct{ before, after string } // "https://" and ".app.example:8443"

// NewOrigins makes a policy of serialized origins, such as "https://app.example",
// and patterns, such as "https://*.app.example"; or the policy of the same host if
// there are none. All faults are reported together.
func NewOrigins(list []string) (Origins, error) {
	var origins Origins
	var faults []error
	for _, o := range list {
		if err := checkOrigin(o); err != nil {
			faults = append(faults, fmt.Errorf("origin %q: %w", o, err))
		}
		if before, after, ok := strings.Cut(o, "*"); ok {
			origins.patterns = append(origins.patterns, pattern{before, after})
		} else {
			origins.exact = append(origins.exact, o)
		}
	}
	if len(faults) > 0 {
		return Origins{}, errors.Join(faults...)
	}
	return origins, nil
}

// Listed reports whether there is a list and origin is on it, byte for byte, or
// matches a pattern of it.
func (o *Origins) Listed(origin []byte) bool {
	for _, have := range o.exact {
		if string(origin) == have {
			return true
		}
	}
	for i := range o.patterns {
		if o.patterns[i].match(origin) {
			return true
		}
	}
	return false
}

// Allow reports whether a request with this Origin header to this Host may go
// on.
func (o *Origins) Allow(origin, host []byte) bool {
	if len(o.exact) > 0 || len(o.patterns) > 0 {
		return o.Listed(origin)
	}
	return sameHost(origin, host)
}

// match compares all but the labels under the star, and wants labels there that a
// browser would send.
func (p *pattern) match(origin []byte) bool {
	n := len(origin) - len(p.after)
	if n <= len(p.before) || string(origin[:len(p.before)]) != p.before || string(origin[n:]) != p.after {
		return false
	}
	size := 0 // of the label at hand
	for _, c := range origin[len(p.before):n] {
		switch {
		case labelByte[c]:
			size++
		case c == '.' && size > 0:
			size = 0
		default:
			return false
		}
	}
	return size > 0
}

// sameHost compares host and port, the default port of the Origin's scheme taken from
// both. An Origin without scheme and host, such as "null", is no host's.
func sameHost(origin, host []byte) bool {
	sep := bytes.Index(origin, []byte("://"))
	if sep < 1 {
		return false
	}
	scheme, authority := origin[:sep], origin[sep+3:]
	if !validScheme(scheme) || !ValidHost(authority) {
		return false
	}
	port := ""
	switch {
	case EqualFold(scheme, "https"), EqualFold(scheme, "wss"):
		port = ":443"
	case EqualFold(scheme, "http"), EqualFold(scheme, "ws"):
		port = ":80"
	}
	a, b := withoutPort(authority, port), withoutPort(host, port)
	return len(a) > 0 && EqualFold(a, b)
}

func validScheme(s []byte) bool {
	for i, c := range s {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !digit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return true
}

// withoutPort takes the default port from an authority, and a colon that no port
// follows.
func withoutPort(authority []byte, port string) []byte {
	n := len(authority)
	if port != "" && n >= len(port) && string(authority[n-len(port):]) == port {
		return authority[:n-len(port)]
	}
	if n > 1 && authority[n-1] == ':' {
		return authority[:n-1]
	}
	return authority
}

// checkOrigin says why no browser would ever send a configured origin.
func checkOrigin(o string) error {
	scheme, authority, ok := strings.Cut(o, "://")
	host, port, hasPort := authority, "", false
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port, hasPort = authority[:i], authority[i+1:], true
	}
	switch {
	case o == "null":
		return errors.New(`any sandboxed page and any file sends "null": it tells nobody from anybody and cannot be listed; where it must pass, AllowOrigin can let it`)
	case !ok || scheme == "" || !validScheme([]byte(scheme)):
		return errors.New("want scheme://host or scheme://host:port")
	case strings.ContainsAny(authority, "/?#@"):
		return errors.New("want scheme://host or scheme://host:port, with no slash, path or user behind it")
	case o == "file://": // what Chromium sends for a page from the disk
		return nil
	case strings.Contains(authority, "*"):
		return checkPattern(o, scheme, host, port, hasPort)
	case !ValidHost(authority):
		return errors.New("the host is empty or holds a character that no host has; write an international name in its ASCII form (xn--…)")
	case strings.EqualFold(scheme, "wss"), strings.EqualFold(scheme, "ws"):
		return errors.New("ws and wss are for the URL of the socket, and an Origin names the page, whose scheme is https or http")
	}
	if err := checkSpelling(o, scheme, port, hasPort); err != nil {
		return err
	}
	if !weborigin.Sent(o) {
		return errors.New("no browser sends it: want scheme://host or scheme://host:port, one origin an entry")
	}
	return nil
}

// checkSpelling wants the origin as browsers spell it.
func checkSpelling(o, scheme, port string, hasPort bool) error {
	switch {
	case o != strings.ToLower(o):
		return errors.New("browsers send it in lower case: write " + strings.ToLower(o))
	case hasPort && port != "" && !validPort(port):
		return errors.New("the port is not a number from 1 to 65535")
	case hasPort && port == "",
		scheme == "https" && port == "443",
		scheme == "http" && port == "80":
		return errors.New("browsers leave the default port out: write " + o[:strings.LastIndexByte(o, ':')])
	}
	return nil
}

// checkPattern wants a pattern that stands for the names below a name that somebody can
// own.
func checkPattern(o, scheme, host, port string, hasPort bool) error {
	const usage = `a pattern is "https://*." and a name of two labels or more, such as https://*.app.example`
	labels := strings.Split(strings.TrimPrefix(host, "*."), ".")
	last := labels[len(labels)-1]
	switch {
	case !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http"):
		return errors.New("only http and https have hosts with names below them; " + usage)
	case !strings.HasPrefix(host, "*.") || strings.Contains(host[1:], "*") || strings.Contains(port, "*"):
		return errors.New(`the "*" has no other place than for the first labels of the host; ` + usage)
	case len(labels) < 2:
		return fmt.Errorf(`"*.%s" would let in everybody who has a name there; %s`, last, usage)
	}
	for _, label := range labels {
		if label == "" {
			return errors.New("a label of the host is empty; " + usage)
		}
		for i := range len(label) {
			if !labelByte[lowerByte(label[i])] {
				return fmt.Errorf("%q is no label of a host name; write an international name in its ASCII form (xn--…); %s", label, usage)
			}
		}
	}
	if last[0] <= '9' && '0' <= last[0] {
		return errors.New("an address has no names below it; " + usage)
	}
	return checkSpelling(o, scheme, port, hasPort)
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '0'
}

// labelByte are the characters of a host's label as browsers write it.
var labelByte = setOf("0123456789abcdefghijklmnopqrstuvwxyz-_")
