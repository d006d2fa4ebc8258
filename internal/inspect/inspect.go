// Package inspect takes a text apart that may be a ticket. It has no key, so
// nothing that it says is verified: it is for people who look for a fault.
package inspect

import (
	"bytes"
	"fmt"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/jose"
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/mac"
)

// A Part is one of the three.
type Part struct {
	// Decoded is what the base64url stands for, nil where it is none. It need not
	// be JSON.
	Decoded []byte
	// Fault is the first fault in words, the value at fault in them, escaped and
	// short. It is empty where there is none.
	Fault string
}

// A Report is what can be said of a text without a key.
type Report struct {
	// Text is the fault of the text as a whole: its length, its dots. Where it is
	// not empty the parts are what stands before, between and behind the first two
	// dots.
	Text                 string
	Header, Payload, MAC Part
}

// Read takes text apart. maxLen is the longest ticket.
func Read(text []byte, maxLen int) *Report {
	var r Report
	if dots := bytes.Count(text, []byte{'.'}); dots != 2 {
		r.Text = fmt.Sprintf("a ticket has two dots, this has %d", dots)
	}
	if len(text) > maxLen {
		r.Text = fmt.Sprintf("a ticket has at most %d bytes, this has %d", maxLen, len(text))
	}
	header, rest, _ := bytes.Cut(text, []byte{'.'})
	payload, tag, _ := bytes.Cut(rest, []byte{'.'})

	r.Header = decode("the header ", header)
	alg, known := mac.Alg(0), false
	if r.Header.Fault == "" {
		h, fault := jose.Parse(r.Header.Decoded, nil)
		if fault.Kind != jose.Sound {
			r.Header.Fault = string(fault.Append(nil, text))
		}
		alg, known = h.Alg, fault.Kind == jose.Sound
	}
	r.Payload = decode("the payload ", payload)
	if r.Payload.Fault == "" {
		r.Payload.Fault = payloadFault(r.Payload.Decoded, text)
	}
	r.MAC = decode("the MAC ", tag)
	if n := len(r.MAC.Decoded); r.MAC.Fault == "" {
		switch {
		case known && n != alg.Size():
			r.MAC.Fault = fmt.Sprintf("the MAC has %d bytes, and that of %s has %d", n, alg, alg.Size())
		case !known && n != mac.HS256.Size() && n != mac.HS384.Size() && n != mac.HS512.Size():
			r.MAC.Fault = fmt.Sprintf("the MAC has %d bytes, and those of HS256, HS384 and HS512 have 32, 48 and 64", n)
		}
	}
	return &r
}

func decode(name string, part []byte) Part {
	decoded := make([]byte, b64.DecodedLen(len(part)))
	if _, ok := b64.Decode(decoded, part); !ok {
		return Part{Fault: name + b64.Diagnose(part).String()}
	}
	return Part{Decoded: decoded}
}

func payloadFault(payload, text []byte) string {
	if len(payload) > claims.MaxPayload {
		return fmt.Sprintf("the payload has %d bytes, and that of no ticket has more than %d", len(payload), claims.MaxPayload)
	}
	var scratch claims.Scratch
	if fault := claims.Diagnose(payload, &scratch); fault.Kind != claims.Sound {
		return string(fault.Append(nil, payload, text))
	}
	var r Report
	r.Payload.Decoded = payload
	iat, _ := r.Time("iat")
	exp, _ := r.Time("exp")
	if exp <= iat {
		return fmt.Sprintf("exp is not after iat: iat %d, exp %d", iat, exp)
	}
	return ""
}

// Faults lists all faults: of the text, the header, the payload and the MAC. With
// none, some keyring could make the text a ticket.
func (r *Report) Faults() []string {
	var all []string
	for _, fault := range []string{r.Text, r.Header.Fault, r.Payload.Fault, r.MAC.Fault} {
		if fault != "" {
			all = append(all, fault)
		}
	}
	return all
}

// Time reads a member of the payload that is a time of the format, also where
// another member is at fault. False means that there is none.
func (r *Report) Time(name string) (seconds int64, ok bool) {
	jsonscan.Object(r.Payload.Decoded, len(r.Payload.Decoded), func(member string, value []byte) error {
		if member == name {
			seconds, ok = claims.Seconds(value)
		}
		return nil
	})
	return seconds, ok
}
