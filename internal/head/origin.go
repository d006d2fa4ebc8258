package head

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Origins is the policy of a gateway on the Origin header (RFC 6454; RFC 6455
// section 10.2). The zero Origins lets pass the pages of the host that the
// request names; one with a list, the pages of the list and no others.
type Origins struct{ list []string }

// NewOrigins makes a policy of serialized origins, such as
// "https://app.example", or the policy of the same host if there are none. All
// faults are reported together.
func NewOrigins(list []string) (Origins, error) {
	var faults []error
	for _, o := range list {
		if err := checkOrigin(o); err != nil {
			faults = append(faults, fmt.Errorf("origin %q: %w", o, err))
		}
	}
	if len(faults) > 0 {
		return Origins{}, errors.Join(faults...)
	}
	return Origins{list: append([]string(nil), list...)}, nil
}

// Listed reports whether there is a list and origin is on it, byte for byte.
func (o *Origins) Listed(origin []byte) bool {
	for _, have := range o.list {
		if string(origin) == have {
			return true
		}
	}
	return false
}

// Allow reports whether a request with this Origin header to this Host may go
// on.
func (o *Origins) Allow(origin, host []byte) bool {
	if len(o.list) > 0 {
		return o.Listed(origin)
	}
	return sameHost(origin, host)
}

// sameHost compares host and port, the default port of the Origin's scheme taken
// from both. What has no scheme and host, such as "null", is no one's host.
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

// checkOrigin says what keeps a configured origin from ever being what a browser
// sends.
func checkOrigin(o string) error {
	scheme, authority, ok := strings.Cut(o, "://")
	switch {
	case o == "null":
		return errors.New(`any sandboxed page sends "null": it tells nobody from anybody and cannot be listed`)
	case strings.Contains(o, "*"):
		return errors.New("patterns are not supported: list each origin")
	case !ok || scheme == "" || !validScheme([]byte(scheme)):
		return errors.New("want scheme://host or scheme://host:port")
	case strings.ContainsAny(authority, "/?#@"):
		return errors.New("want scheme://host or scheme://host:port, with no slash, path or user behind it")
	case !ValidHost(authority):
		return errors.New("the host is empty or holds a character that no host has; write an international name in its ASCII form (xn--…)")
	case o != strings.ToLower(o):
		return errors.New("browsers send it in lower case: write " + strings.ToLower(o))
	case strings.HasSuffix(authority, ":"),
		scheme == "https" && strings.HasSuffix(authority, ":443"),
		scheme == "http" && strings.HasSuffix(authority, ":80"):
		return errors.New("browsers leave the default port out: write " + o[:strings.LastIndexByte(o, ':')])
	}
	return nil
}
