package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/bits"
	"strconv"

	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/quote"
)

// A Kind is a rule that a payload can break.
type Kind uint8

// The kinds. Those below Escaped are of the whole payload, and Escaped of a member
// that need not be a claim; all others are of one claim.
const (
	Sound   Kind = iota
	NotUTF8      // as in package jsonscan, up to TooDeep
	NotObject
	NotJSON
	Trailing
	TooDeep
	Escaped     // a name is written with an escape
	Duplicate   // a member is given twice; Claim is 0 for one that is no claim
	Missing     // jti, iat, exp
	NotSeconds  // iat, exp, nbf, session_exp
	TooLate     // the same: integers that are no time of this format
	NotText     // the claims that are strings
	Empty       // jti, sub
	TooLong     // jti
	NotRooted   // path
	NotAddress  // ip
	NotAudience // aud
	NumKinds
)

// NumClaims is the number of claims; each has one bit in Present.
const NumClaims = 13

var claimNames = [NumClaims]string{"jti", "iat", "exp", "nbf", "sub", "aud", "iss", "scope", "sid", "session_exp", "origin", "path", "ip"}

// Name is the name of one claim.
func (p Present) Name() string { return claimNames[p.Index()-1] }

// Index is the place of one claim in the order above, from 1 on, and 0 for none.
func (p Present) Index() int {
	if p == 0 {
		return 0
	}
	return bits.TrailingZeros16(uint16(p)) + 1
}

// A Fault is the first rule that a payload breaks: those of the whole payload come
// first, then those of its members in the order in which they stand, then what is
// missing.
type Fault struct {
	Kind  Kind
	Claim Present // the claim at fault, or 0
	Name  Span    // of the member at fault in the payload, a JSON string
	Value Span    // its JSON text, or all of the payload
}

const (
	times = IssuedAt | Expires | NotBefore | SessionExpires
	texts = JTI | Subject | Issuer | Scope | SessionID | Origin | Path | IP
)

var kinds = [NumKinds]struct {
	of    Present // the claims that can break the rule
	text  string  // continues the claim's name
	shows bool    // the value that broke it says more
}{
	Duplicate:   {of: times | texts | Audience},
	Missing:     {required, "is missing", false},
	NotSeconds:  {times, "is not an integer of seconds", true},
	TooLate:     {times, "lies beyond the year 9999; give seconds, not milliseconds", true},
	NotText:     {texts, "is not a string", true},
	Empty:       {JTI | Subject, "is empty", false},
	TooLong:     {JTI, "is longer than 128 bytes", false},
	NotRooted:   {Path, "does not begin with /", true},
	NotAddress:  {IP, "is neither an address nor a prefix", true},
	NotAudience: {Audience, "is neither a string nor an array of strings with at least one in it", true},
}

// Faults calls yield with every fault that has words of its own, without spans.
func Faults(yield func(Fault) bool) {
	for k := NotUTF8; k < NumKinds; k++ {
		if k <= Duplicate && !yield(Fault{Kind: k}) {
			return
		}
		for i := range NumClaims {
			if claim := Present(1 << i); kinds[k].of&claim != 0 && !yield(Fault{Kind: k, Claim: claim}) {
				return
			}
		}
	}
}

// String says in words which rule is broken, and of which claim, without anything
// that the payload says.
func (f Fault) String() string {
	switch {
	case f.Kind < Escaped:
		return "the payload " + jsonscan.Reason(f.Kind).String()
	case f.Kind == Escaped:
		return "the name of a member is written with an escape"
	case f.Kind == Duplicate && f.Claim == 0:
		return "duplicate member"
	case f.Kind == Duplicate:
		return `duplicate member "` + f.Claim.Name() + `"`
	}
	return f.Claim.Name() + " " + kinds[f.Kind].text
}

// Append appends the words of String and what payload says there. ticket is the
// text that payload was decoded from; no piece of it is shown.
func (f Fault) Append(dst, payload, ticket []byte) []byte {
	dst = append(dst, f.String()...)
	switch {
	case f.Kind == NotJSON:
		var syntax *json.SyntaxError
		if err := json.Unmarshal(f.Value.In(payload), new(any)); errors.As(err, &syntax) {
			dst = strconv.AppendInt(append(dst, " (at byte "...), syntax.Offset, 10)
			dst = append(dst, ')')
		}
	case f.Kind == Escaped || f.Kind == Duplicate && f.Claim == 0:
		dst = quote.AppendBare(append(dst, ' '), f.Name.In(payload), ticket)
	case kinds[f.Kind].shows:
		dst = quote.AppendBare(append(dst, " ("...), f.Value.In(payload), ticket)
		dst = append(dst, ')')
	}
	return dst
}

// Diagnose says what is wrong with a payload that [Set.Scan] has refused: it finds
// a fault in a payload exactly where Scan does. Unlike Scan it takes its time, so
// that Scan need not note what it looks at. p has at most MaxPayload bytes. It
// allocates nothing.
func Diagnose(p []byte, scratch *Scratch) Fault {
	if why := jsonscan.Why(p, maxDepth); why != jsonscan.Fine {
		return Fault{Kind: Kind(why), Value: Span{0, uint16(len(p))}}
	}
	var has Present
	others := 0
	for i := jsonscan.Space(p, jsonscan.Space(p, 0)+1); p[i] != '}'; {
		end, escaped := jsonscan.String(p, i)
		f := Fault{Name: Span{uint16(i), uint16(end - i)}}
		f.Claim = known(p[i+1 : end-1])
		i = jsonscan.Space(p, jsonscan.Space(p, end)+1)
		end = jsonscan.Value(p, i, maxDepth)
		f.Value = Span{uint16(i), uint16(end - i)}
		switch {
		case escaped:
			f.Kind = Escaped // and so no claim
		case f.Claim != 0 && has&f.Claim != 0:
			f.Kind = Duplicate
		case f.Claim != 0:
			has |= f.Claim
			f.Kind = valueFault(f.Claim, f.Value.In(p))
		default:
			for _, other := range scratch.names[:others] {
				if bytes.Equal(other.In(p), f.Name.In(p)) {
					f.Kind = Duplicate
				}
			}
			scratch.names[others] = f.Name
			others++
		}
		if f.Kind != Sound {
			return f
		}
		if i = jsonscan.Space(p, end); p[i] == ',' {
			i = jsonscan.Space(p, i+1)
		}
	}
	for _, claim := range []Present{JTI, IssuedAt, Expires} {
		if has&claim == 0 {
			return Fault{Kind: Missing, Claim: claim}
		}
	}
	return Fault{}
}

// valueFault says which rule the value of a claim breaks. The value is valid JSON.
func valueFault(claim Present, value []byte) Kind {
	switch claim {
	case IssuedAt, Expires, NotBefore, SessionExpires:
		switch _, ok := Seconds(value); {
		case ok:
			return Sound
		case len(bytes.Trim(value, "0123456789")) == 0:
			return TooLate
		}
		return NotSeconds
	case Audience:
		return audienceFault(value)
	}
	if value[0] != '"' {
		return NotText
	}
	var room [MaxPayload]byte
	text := jsonscan.AppendUnescaped(room[:0], value[1:len(value)-1])
	switch claim {
	case JTI:
		if len(text) > maxJTI {
			return TooLong
		}
		fallthrough
	case Subject:
		if len(text) == 0 {
			return Empty
		}
	case Path:
		if len(text) == 0 || text[0] != '/' {
			return NotRooted
		}
	case IP:
		if _, ok := ParseIP(text); !ok {
			return NotAddress
		}
	}
	return Sound
}

// Seconds reads the JSON of a time.
func Seconds(value []byte) (n int64, ok bool) {
	ok = seconds(value, 0, &n) == len(value)
	return n, ok
}

func audienceFault(value []byte) Kind {
	switch {
	case value[0] == '"':
		return Sound
	case value[0] != '[':
		return NotAudience
	}
	for i := 0; value[i] != ']'; {
		i = jsonscan.Space(value, i+1)
		end, _ := jsonscan.String(value, i)
		if end == jsonscan.Fault {
			return NotAudience
		}
		i = jsonscan.Space(value, end)
	}
	return Sound
}
