// Package quote puts text that somebody else wrote into a message: escaped, so
// that no terminal and no reader of logs is led astray by it, cut short, and never
// with a piece of a ticket in it.
package quote

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// Limit is the most bytes that are shown of a value, its escapes included.
const Limit = 64

const (
	cut     = "…"
	hidden  = "(not shown: it holds a piece of a ticket)"
	piece   = 12    // as much of a ticket in a value is no accident
	opening = "eyJ" // base64url of {" as most headers and payloads begin
)

// Append appends text in double quotes to dst. What cannot be seen, and what
// changes how the rest is seen, is written as an escape of Go: control characters,
// the separators U+2028 and U+2029, the marks of bidirectional text, bytes that
// are no UTF-8. A value with a piece of ticket in it is not shown, nor one with
// something like a ticket.
func Append(dst, text, ticket []byte) []byte { return value(dst, text, ticket, `"`) }

// Text is text as Append shows it where no ticket is known.
func Text(text string) string { return string(Append(nil, []byte(text), nil)) }

// AppendBare is Append without the quotes, for the text of a JSON value and for
// fields that get quotes from somebody else. Quotes and backslashes stay as they
// are.
func AppendBare(dst, text, ticket []byte) []byte { return value(dst, text, ticket, "") }

// Words is a sentence of another package, which may quote a stranger: escaped as by
// AppendBare, and cut at so many bytes.
func Words(text string, most int) string {
	var dst []byte
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		before := len(dst)
		if dst = escape(dst, []byte(text[at:at+size]), r, false); len(dst) > most {
			return string(dst[:before]) + cut
		}
		at += size
	}
	return string(dst)
}

func value(dst, text, ticket []byte, mark string) []byte {
	if Leaks(text, ticket) {
		return append(dst, hidden...)
	}
	dst = append(dst, mark...)
	start, whole := len(dst), true
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		before := len(dst)
		dst = escape(dst, text[:n], r, mark != "")
		if len(dst)-start > Limit {
			dst, whole = dst[:before], false
			break
		}
		text = text[n:]
	}
	dst = append(dst, mark...)
	if !whole {
		dst = append(dst, cut...)
	}
	return dst
}

// escape appends one character, whose bytes are text.
func escape(dst, text []byte, r rune, quoted bool) []byte {
	if !quoted && strconv.IsPrint(r) && (r != utf8.RuneError || len(text) > 1) {
		return append(dst, text...)
	}
	n := len(dst)
	dst = strconv.AppendQuote(dst, string(text))
	return append(dst[:n], dst[n+1:len(dst)-1]...) // without its quotes
}

// Leaks says whether what [Append] would show of text holds a piece of ticket, or
// of anything that looks like one.
func Leaks(text, ticket []byte) bool {
	shown := text[:min(len(text), Limit+piece)]
	for i := 0; i+piece <= len(shown); i++ {
		if bytes.Contains(ticket, shown[i:i+piece]) {
			return true
		}
	}
	for rest := shown; ; {
		i := bytes.Index(rest, []byte(opening))
		if i < 0 {
			return false
		}
		n := i
		for n < len(rest) && letter(rest[n]) {
			n++
		}
		if n-i >= piece {
			return true
		}
		rest = rest[n:]
	}
}

func letter(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
