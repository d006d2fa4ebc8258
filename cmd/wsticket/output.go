package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// writeJSON writes a value as one line of JSON.
func (e *env) writeJSON(v any) error {
	text, err := jsonLine(v)
	if err == nil {
		_, err = fmt.Fprintln(e.stdout, text)
	}
	return err
}

// jsonLine is a value as JSON without white space, safe on a terminal.
func jsonLine(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return visible(strings.TrimSuffix(b.String(), "\n")), nil
}

// compact is JSON without white space outside strings, and safe on a terminal.
func compact(text []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return visible(string(text)) // not JSON: the caller's text is checked already
	}
	return visible(b.String())
}

// visible writes as JSON escapes what a terminal may obey or a reader may not see:
// control characters, the separators of lines and paragraphs, the marks that turn
// the direction of text around, and all else that has no look of its own. Line feeds
// and tabs stay; a carriage return, which would write over what stands before it,
// becomes a space. JSON may hold those three outside of its strings only, so JSON
// stays what it is.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r), r == '\n', r == '\t':
			b.WriteRune(r)
		case r == '\r':
			b.WriteByte(' ')
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// stamp is a time in words, UTC.
func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

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
	return brief(time.Duration(seconds) * time.Second)
}

// brief is a duration without the zeros behind it: 1h and not 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	for _, end := range [][2]string{{"m0s", "m"}, {"h0m", "h"}} {
		if short, ok := strings.CutSuffix(text, end[0]); ok {
			text = short + end[1]
		}
	}
	return text
}
