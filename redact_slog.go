package wsticket

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
)

// SlogReplace redacts what looks like a ticket, wherever it stands in a log record: in
// the message, in keys (but for the names of groups, which slog does not show it), in
// strings and errors, and in values of any other type, which it writes as the handlers of
// slog would and looks through. It is for slog.HandlerOptions.ReplaceAttr:
//
//	slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: wsticket.SlogReplace})
//
// Use [Conceal] to keep tickets away from loggers. SlogReplace catches what slips
// through, such as a URL in the text of an error. It also redacts tokens of the same
// shape that are not tickets: other signed JWTs are secrets as well. A value that is
// not text, and has such a token in it, is replaced whole.
func SlogReplace(groups []string, a slog.Attr) slog.Attr {
	a.Key, _ = redactTickets(a.Key)
	switch a.Value.Kind() {
	case slog.KindString:
		if text, some := redactTickets(a.Value.String()); some {
			a.Value = slog.StringValue(text)
		}
	case slog.KindAny:
		if text, some := redactAny(a.Value.Any()); some {
			a.Value = slog.StringValue(text)
		}
	}
	return a
}

// redactAny returns a text for a value in which there is a ticket, however it would be
// written. One that panics when it is written has nothing to show: slog says so.
func redactAny(v any) (text string, some bool) {
	defer func() {
		if recover() != nil {
			text, some = "", false
		}
	}()
	switch v := v.(type) {
	case nil, *slog.Source:
		return "", false
	case error:
		if text, some = redactTickets(v.Error()); some {
			return text, true
		}
	case []byte:
		return redactTickets(string(v))
	}
	if text, some = redactTickets(fmt.Sprintf("%+v", v)); some {
		return text, true
	}
	if encoded, err := json.Marshal(v); err == nil {
		if text, some = redactTickets(string(encoded)); some {
			return text, true
		}
	}
	// What is a slice of bytes, of whatever type, a TextHandler writes as it stands.
	_, saysItself := v.(encoding.TextMarshaler)
	if t := reflect.TypeOf(v); !saysItself && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		_, some = redactTickets(string(reflect.ValueOf(v).Bytes()))
		return redacted, some
	}
	return "", false
}

const redacted = "redacted"

// The lengths of the parts of the shortest ticket, see shortestTicket. Half of the MAC is
// enough: of a ticket that somebody has cut, whoever reads all but the last letter of it
// finds that one by sixteen guesses.
var shortestParts = [3]int{base64Len(`{"alg":"HS256","kid":"a","typ":"ws-ticket+jwt"}`), base64Len(`{"jti":"a","iat":1,"exp":2}`), encodedLen(16)}

var shortestCut = shortestParts[0] + 1 + shortestParts[1] + 1 + shortestParts[2]

// redactTickets replaces what has the shape of a ticket: three runs of base64url, long
// enough, with dots between them, also such as are percent-encoded.
func redactTickets(text string) (clean string, some bool) {
	if len(text) < shortestCut {
		return text, false
	}
	var b strings.Builder
	kept := 0
	for at := 0; at < len(text); {
		end, next := ticketAt(text, at)
		if end > 0 {
			b.WriteString(text[kept:at])
			b.WriteString(redacted)
			kept, next = end, end
		}
		at = next
	}
	if kept == 0 {
		return text, false
	}
	b.WriteString(text[kept:])
	return b.String(), true
}

// ticketAt returns where a ticket that begins at a place ends, or else 0 and where to
// look next.
func ticketAt(text string, at int) (end, next int) {
	run := runEnd(text, at)
	if next = run; next == at {
		next++
	}
	end = at
	for i, least := range shortestParts {
		if i > 0 {
			dot := dotAt(text, end)
			if dot == 0 {
				return 0, next
			}
			end += dot
			run = runEnd(text, end)
		}
		if run-end < least {
			return 0, next
		}
		end = run
	}
	for { // what hangs on it may be more of it: three parts before the third were enough
		dot := dotAt(text, end)
		if run = runEnd(text, end+dot); dot == 0 || run == end+dot {
			return end, next
		}
		end = run
	}
}

// runEnd returns where the letters of base64url end.
func runEnd(text string, at int) int {
	for at < len(text) {
		switch c := text[at]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			at++
		default:
			return at
		}
	}
	return at
}

// dotAt returns the length of the dot at a place, 0 if there is none.
func dotAt(text string, at int) int {
	switch {
	case strings.HasPrefix(text[at:], "."):
		return 1
	case len(text) >= at+3 && strings.EqualFold(text[at:at+3], "%2e"):
		return 3
	}
	return 0
}
