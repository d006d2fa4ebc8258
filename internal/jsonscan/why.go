package jsonscan

import "unicode/utf8"

// A Reason says why a text is not the JSON object that was asked for.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	Fine      Reason = iota
	NotUTF8          // RFC 8259 section 8.1
	NotObject        // something else than a { comes first
	NotJSON          // RFC 8259 section 2, or a lone surrogate
	Trailing         // something follows the object
	TooDeep          // more than maxDepth arrays and objects are open at once
)

var reasons = [...]string{
	Fine:      "is a JSON object",
	NotUTF8:   "is not UTF-8",
	NotObject: "is not a JSON object",
	NotJSON:   "is not valid JSON",
	Trailing:  "goes on behind its JSON object",
	TooDeep:   "is nested too deep",
}

// String completes a sentence about the text.
func (r Reason) String() string { return reasons[r] }

// Why says why data is not one JSON object with at most maxDepth levels and nothing
// but white space around it. It is for texts that were refused: it reads them up to
// three times. It allocates nothing.
func Why(data []byte, maxDepth int) Reason {
	start := Space(data, 0)
	switch end := Value(data, start, len(data)); {
	case !utf8.Valid(data):
		return NotUTF8
	case start == len(data) || data[start] != '{':
		return NotObject
	case end == Fault:
		return NotJSON
	case Space(data, end) != len(data):
		return Trailing
	case Value(data, start, maxDepth) == Fault:
		return TooDeep
	}
	return Fine
}
