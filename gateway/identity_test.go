package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestIdentityAliases(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	for _, name := range []string{"Ticket-Subject", "ticket-subject", "TICKET-SUBJECT", "Ticket_Subject", "Ticket.Subject", "Ticket-Sub ject",
		"ticket_claims", "Ticket+Id", "Ticket-Id", "Ticket~Audience", "TICKET_SESSION", "Ticket|Scope", "Ticket\u00b7Scope"} {
		h[name] = []string{"forged"}
	}
	for _, name := range []string{"Ticket", "Ticket-Subjects", "X-Ticket-Subject", "Cookie"} {
		h[name] = []string{"kept"}
	}
	dropIdentity(h)
	for name, lines := range h {
		if lines[0] == "forged" && name != "Ticket-Sub ject" {
			t.Errorf("%q is left", name)
		}
	}
	for _, name := range []string{"Ticket", "Ticket-Subjects", "X-Ticket-Subject", "Cookie"} {
		if h[name] == nil {
			t.Errorf("%q is gone", name)
		}
	}
}

// FuzzHeaderText: what a claim becomes is printable, has no spaces at its ends, and
// comes back by percent-decoding.
func FuzzHeaderText(f *testing.F) {
	for _, seed := range []string{"", "ada", "a b", " a ", "%41", "é", "a\r\nX: y", "a+b", "\x00\x7f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, claim string) {
		text := headerText([]byte(claim))
		if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }) || text != strings.TrimSpace(text) {
			t.Errorf("%q becomes %q", claim, text)
		}
		if back, err := url.PathUnescape(text); err != nil || back != claim {
			t.Errorf("%q becomes %q, which is %q, %v", claim, text, back, err)
		}
	})
}
