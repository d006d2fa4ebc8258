package wsticket

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/wsticket/wsticket/internal/quote"
	"github.com/wsticket/wsticket/internal/weborigin"
)

// The format lets a ticket bind to any origin and any path. The signer refuses what
// no handshake could ever match: it is a slip, and better told to whoever makes it
// than to the operator of a gateway that refuses every ticket.

func (f *faults) origin(origin string) {
	if origin != "" && !weborigin.Sent(origin) {
		f.addf("Origin %w", weborigin.Fault(origin))
	}
}

func (f *faults) path(path string) {
	if path != "" && !usualPath(path) && !requestable(path) {
		f.addf("Path %w", pathFault(path))
	}
}

// usualPath says yes to a path of letters, digits, - and _, a tree or not: one look at
// each byte, as the signer has to for every ticket.
func usualPath(p string) bool {
	if p[0] != '/' {
		return false
	}
	if strings.HasSuffix(p, "/*") {
		p = p[:len(p)-1]
	}
	before := byte(0)
	for i := range len(p) {
		c := p[i]
		if !inUsualPath[c] || c == '/' && before == '/' {
			return false
		}
		before = c
	}
	return true
}

var inUsualPath = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '/'
	}
	return t
}()

// requestable says whether the path of a request, decoded once, can be what p binds
// to. Three spellings are left out although a request could equal them when it
// escapes them: the ? of a query and the # of a fragment, which do not belong to the
// path; a percent-escape, which would have to be escaped once more; and a * elsewhere
// than in "/*" at the end, which would match itself only.
func requestable(p string) bool {
	if p[0] != '/' {
		return false
	}
	segment := 1 // where the segment at hand begins
	for i := 1; i < len(p); i++ {
		switch c := p[i]; c {
		case '/':
			if i == segment || dotted(p[segment:i]) {
				return false
			}
			segment = i + 1
		case '?', '#', '\\', 0:
			return false
		case ';': // gateways refuse what is empty or dots without its parameters
			if n := i - segment; n == 0 || dotted(p[segment:i]) {
				return false
			}
		case '%':
			if _, ok := percentByte([]byte(p[i:min(i+3, len(p))])); ok {
				return false
			}
		case '*':
			return i == segment && i == len(p)-1
		}
	}
	return !dotted(p[segment:])
}

func dotted(segment string) bool { return segment == "." || segment == ".." }

// pathFault says what is wrong with p, which is not requestable, and shows the right
// spelling if there is one that binds to the same.
func pathFault(p string) error {
	if right := spellPath(p); right != "" && requestable(right) {
		return fmt.Errorf("is %s, which no path of a request equals; write %s (decoded, without query, no empty segment and no . or ..)", quote.Text(p), quote.Text(right))
	}
	if strings.Contains(strings.TrimSuffix(p, "/*"), "*") {
		return fmt.Errorf("is %s; a * stands only in /* at the end, for all that is below", quote.Text(p))
	}
	return fmt.Errorf("is %s, which no path of a request equals; give the path as the request has it, decoded and without query, beginning with /", quote.Text(p))
}

func spellPath(p string) string {
	if scheme, rest, ok := strings.Cut(p, "://"); ok && !strings.Contains(scheme, "/") {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			return ""
		}
		p = rest[slash:]
	}
	if end := strings.IndexAny(p, "?#"); end >= 0 {
		p = p[:end]
	}
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	p = "/" + strings.ReplaceAll(p, `\`, "/")
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
