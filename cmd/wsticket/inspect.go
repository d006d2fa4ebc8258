package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/inspect"
)

func inspectTicket(e *env, f *flags) error {
	asJSON := f.Bool("json", false, "answer in JSON")
	if ok, err := f.parse(e, 1); !ok {
		return err
	}
	read := func(text []byte) (*inspect.Report, bool) {
		r := inspect.Read(text, wsticket.MaxTicketLen)
		return r, len(r.Faults()) == 0
	}
	switch batch := f.Arg(0) == "-"; {
	case batch && *asJSON:
		return e.eachLine(func(text []byte) (string, bool) {
			r, ok := read(text)
			return reportJSON(r), ok
		})
	case batch:
		return e.eachLine(func(text []byte) (string, bool) {
			r, ok := read(text)
			if !ok {
				return wsticket.ErrMalformed.Code(), false
			}
			return fmt.Sprintf(`unverified {"header":%s,"claims":%s}`, compact(r.Header.Decoded), compact(r.Payload.Decoded)), true
		})
	}
	r, ok := read([]byte(f.Arg(0)))
	var err error
	if *asJSON {
		_, err = fmt.Fprintln(e.stdout, reportJSON(r))
	} else {
		_, err = e.stdout.Write(describe(r, e.now().Unix()))
	}
	if err != nil || ok {
		return err
	}
	if !*asJSON {
		fmt.Fprintf(e.stderr, "%s: %s\n", wsticket.ErrMalformed.Code(), visible(strings.Join(r.Faults(), "; ")))
	}
	return errRefused
}

// describe tells a person what the text says.
func describe(r *inspect.Report, now int64) []byte {
	var b bytes.Buffer
	b.WriteString("UNVERIFIED: no key, signature, time or binding was checked; anybody could have written this.\n")
	if r.Text != "" {
		fmt.Fprintf(&b, "\nMALFORMED: %s\n", visible(r.Text))
	}
	fmt.Fprintf(&b, "\nheader  %s\n%s", part(r.Header.Decoded, ""), fault(r.Header))
	fmt.Fprintf(&b, "claims  %s\n%s", part(r.Payload.Decoded, "        "), fault(r.Payload))
	if r.MAC.Fault != "" {
		fmt.Fprintf(&b, "MAC\n%s", fault(r.MAC))
	}
	first := true
	for _, t := range []struct{ what, claim string }{
		{"issued", "iat"}, {"not before", "nbf"}, {"expires", "exp"}, {"session ends", "session_exp"},
	} {
		if seconds, ok := r.Time(t.claim); ok {
			if first {
				b.WriteByte('\n')
				first = false
			}
			fmt.Fprintf(&b, "%-14s%s  %s\n", t.what, stamp(seconds), distance(seconds-now))
		}
	}
	iat, ok1 := r.Time("iat")
	exp, ok2 := r.Time("exp")
	if ok1 && ok2 && exp > iat {
		fmt.Fprintf(&b, "%-14s%s\n", "lives for", span(exp-iat))
	}
	return b.Bytes()
}

func fault(p inspect.Part) string {
	if p.Fault == "" {
		return ""
	}
	return "        MALFORMED: " + visible(p.Fault) + "\n"
}

// part shows a header or a payload: JSON, in lines of its own if there is an indent,
// or whatever text it is.
func part(decoded []byte, indent string) string {
	var b bytes.Buffer
	switch {
	case decoded == nil:
		return "(cannot be read)"
	case !json.Valid(decoded):
		return fmt.Sprintf("%q", decoded)
	case indent == "":
		return compact(decoded)
	}
	if err := json.Indent(&b, decoded, indent, "  "); err != nil {
		return compact(decoded)
	}
	return visible(b.String())
}

// reportJSON says the same to a program.
func reportJSON(r *inspect.Report) string {
	v := struct {
		OK       bool            `json:"ok"`
		Verified bool            `json:"verified"` // never
		Code     string          `json:"code,omitempty"`
		Reason   string          `json:"reason,omitempty"`
		Header   json.RawMessage `json:"header,omitempty"`
		Claims   json.RawMessage `json:"claims,omitempty"`
	}{OK: true, Header: rawPart(r.Header.Decoded), Claims: rawPart(r.Payload.Decoded)}
	if faults := r.Faults(); len(faults) > 0 {
		v.OK, v.Code, v.Reason = false, wsticket.ErrMalformed.Code(), strings.Join(faults, "; ")
	}
	line, err := jsonLine(v)
	if err != nil { // rawPart gives JSON
		return `{"ok":false}`
	}
	return line
}

// rawPart is a part as it stands where that is JSON, and its text as a JSON string
// where it is not.
func rawPart(decoded []byte) json.RawMessage {
	switch {
	case decoded == nil:
		return nil
	case json.Valid(decoded) && utf8.Valid(decoded):
		return decoded
	}
	text, err := json.Marshal(string(decoded))
	if err != nil {
		return nil
	}
	return text
}
