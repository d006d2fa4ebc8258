package jose

import (
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/quote"
)

// A Member is one that a header has.
type Member uint8

// The members.
const (
	Other Member = iota
	Alg
	KeyID
	Typ
	numMembers
)

var members = [numMembers]struct{ name, want string }{
	Alg:   {"alg", "HS256, HS384 or HS512"},
	KeyID: {"kid", "1 to 64 characters of A-Z a-z 0-9 - . _ ~"},
	Typ:   {"typ", Type},
}

func memberOf(name []byte) Member {
	for m := Alg; m < numMembers; m++ {
		if members[m].name == string(name) {
			return m
		}
	}
	return Other
}

// A Kind is a rule that a header can break.
type Kind uint8

// The kinds. Those below Escaped are of the whole header.
const (
	Sound   Kind = iota
	NotUTF8      // as in package jsonscan, up to TooDeep
	NotObject
	NotJSON
	Trailing
	TooDeep
	Escaped   // a name is written with an escape
	Foreign   // a member beside the three
	Duplicate // one of the three is given twice
	Missing   // one of the three is
	NotText   // its value is not a string
	Wrong     // its value is not what a ticket has
	numKinds
)

// A Fault is the first rule that a header breaks. Name and Value are views of it.
type Fault struct {
	Kind        Kind
	Member      Member
	Name, Value []byte // the JSON text
}

// Faults calls yield with every fault that has words of its own; Name and Value
// are nil.
func Faults(yield func(Fault) bool) {
	for k := NotUTF8; k < numKinds; k++ {
		first, last := Alg, Typ
		if k <= Foreign {
			first, last = Other, Other
		}
		for m := first; m <= last; m++ {
			if !yield(Fault{Kind: k, Member: m}) {
				return
			}
		}
	}
}

// Index tells the faults apart that [Faults] yields: it is below NumIndexes.
func (f Fault) Index() int {
	if f.Kind <= Foreign {
		return int(f.Kind) * int(numMembers)
	}
	return int(f.Kind)*int(numMembers) + int(f.Member)
}

// NumIndexes is more than every Index.
const NumIndexes = int(numKinds) * int(numMembers)

// String says in words which rule is broken, and by which member, without anything
// that the header says.
func (f Fault) String() string {
	m := members[f.Member]
	switch f.Kind {
	case Escaped:
		return "the name of a member of the header is written with an escape"
	case Foreign:
		return "the header has a member beside alg, kid and typ"
	case Duplicate:
		return "duplicate member \"" + m.name + "\" of the header"
	case Missing:
		return m.name + " is missing"
	case NotText:
		return m.name + " is not a string"
	case Wrong:
		return m.name + " is not " + m.want
	}
	return "the header " + jsonscan.Reason(f.Kind).String()
}

// Append appends the words of String and what the header says there. It is for the
// header of a ticket whose MAC is right. ticket is its text; no piece of it is shown.
func (f Fault) Append(dst, ticket []byte) []byte {
	switch f.Kind {
	case Escaped, Foreign:
		return quote.AppendBare(append(append(dst, f.String()...), ": "...), f.Name, ticket)
	case NotText:
		dst = append(append(dst, f.String()...), " ("...)
		return append(quote.AppendBare(dst, f.Value, ticket), ')')
	case Wrong:
		m := members[f.Member]
		dst = append(append(dst, m.name...), " is "...)
		dst = quote.AppendBare(dst, f.Value, ticket)
		return append(append(dst, ", want "...), m.want...)
	}
	return append(dst, f.String()...)
}
