package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/jwkset"
)

func inspect(e *env, f *flags) error {
	if ok, err := f.parse(e, 1); !ok {
		return err
	}
	i, err := newInspector(e.now())
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	if f.Arg(0) == "-" {
		return e.eachLine(func(text []byte) (string, bool) {
			seen, ok := i.read(text)
			if !ok {
				return wsticket.ErrMalformed.Code(), false
			}
			return fmt.Sprintf(`unverified {"header":%s,"claims":%s}`, compact(seen.header), compact(seen.payload)), true
		})
	}
	seen, ok := i.read([]byte(f.Arg(0)))
	if !ok {
		fmt.Fprintln(e.stderr, wsticket.ErrMalformed.Code())
		return errRefused
	}
	_, err = e.stdout.Write(seen.describe(e.now().Unix()))
	return err
}

// An inspector tells what is a ticket from what is not, without a key.
type inspector struct {
	verifier *wsticket.Verifier
	now      time.Time
	scratch  claims.Scratch
}

// newInspector makes the inspector's verifier: one with a new key under a random
// name, so that whatever it finds well-formed as far as the MAC is of an unknown
// key to it. That way there is one reader of headers and not two.
func newInspector(now time.Time) (*inspector, error) {
	set, err := jwkset.Generate("HS256", "", now.Unix())
	if err != nil {
		return nil, err
	}
	text, err := set.Marshal()
	if err != nil {
		return nil, err
	}
	keys, err := wsticket.ParseKeyring(text)
	if err != nil {
		return nil, err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: wsticket.DangerouslyAllowReplay})
	if err != nil {
		return nil, err
	}
	return &inspector{verifier: verifier, now: now}, nil
}

// seen is what a ticket says.
type seen struct {
	header, payload []byte
	claims          claims.Set
}

// read takes a ticket apart. False means that no keyring could make it good.
func (i *inspector) read(text []byte) (seen, bool) {
	var unused wsticket.Ticket
	err := i.verifier.PeekUnboundAt(i.now, text, &unused)
	if code, ok := wsticket.CodeOf(err); !ok || code == wsticket.ErrMalformed {
		return seen{}, false
	}
	parts := bytes.Split(text, []byte("."))
	var s seen
	header := make([]byte, b64.DecodedLen(len(parts[0])))
	if _, ok := b64.Decode(header, parts[0]); !ok {
		return seen{}, false
	}
	n := b64.DecodedLen(len(parts[1]))
	payload := make([]byte, 2*n, 2*n+1) // what the scanner wants: room for the text of the strings
	if _, ok := b64.Decode(payload[:n], parts[1]); !ok || !s.claims.Scan(payload, n, &i.scratch) {
		return seen{}, false
	}
	if s.claims.Expires <= s.claims.IssuedAt {
		return seen{}, false
	}
	s.header, s.payload = header, payload[:n]
	return s, true
}

// describe tells a person what the ticket says.
func (s *seen) describe(now int64) []byte {
	var b bytes.Buffer
	b.WriteString("UNVERIFIED: no key, signature, time or binding was checked; anybody could have written this.\n\n")
	fmt.Fprintf(&b, "header  %s\nclaims  ", compact(s.header))
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, s.payload, "        ", "  "); err != nil {
		pretty.Write(s.payload)
	}
	b.WriteString(visible(pretty.String()) + "\n\n")
	c := &s.claims
	times := []struct {
		what    string
		claim   claims.Present
		seconds int64
	}{
		{"issued", claims.IssuedAt, c.IssuedAt},
		{"not before", claims.NotBefore, c.NotBefore},
		{"expires", claims.Expires, c.Expires},
		{"session ends", claims.SessionExpires, c.SessionExpires},
	}
	for _, t := range times {
		if c.Has&t.claim != 0 {
			fmt.Fprintf(&b, "%-14s%s  %s\n", t.what, stamp(t.seconds), distance(t.seconds-now))
		}
	}
	fmt.Fprintf(&b, "%-14s%s\n", "lives for", span(c.Expires-c.IssuedAt))
	return b.Bytes()
}

// distance says how far off a time is.
func distance(seconds int64) string {
	switch {
	case seconds == 0:
		return "now"
	case seconds < 0:
		return span(-seconds) + " ago"
	default:
		return "in " + span(seconds)
	}
}

func span(seconds int64) string {
	const day = 24 * 60 * 60
	if seconds >= 2*day {
		return fmt.Sprintf("%d days", seconds/day)
	}
	return (time.Duration(seconds) * time.Second).String()
}

// visible writes the control characters that JSON allows in strings, and some
// terminals obey, as JSON escapes.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r >= 0x7f && r <= 0x9f {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
