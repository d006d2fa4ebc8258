package b64

// A Fault says why [Decode] refuses a text.
type Fault uint8

// The faults.
const (
	Fine   Fault = iota
	Letter       // outside of the alphabet
	Length       // four letters and one more: no number of bytes has that many
	Spare        // the last letter has bits that are no part of any byte
	NumFaults
)

var faults = [NumFaults]string{
	Fine:   "is base64url",
	Letter: "is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64",
	Length: "is not base64url: no number of bytes makes that many characters",
	Spare:  "is not base64url: its last character has spare bits that are not zero",
}

// String completes a sentence about the text.
func (f Fault) String() string { return faults[f] }

// Diagnose says what is wrong with a text that Decode has refused. A foreign letter
// counts before the length.
func Diagnose(src []byte) Fault {
	for _, c := range src {
		if shifted[0][c] == foreign {
			return Letter
		}
	}
	n := len(src)
	switch {
	case n%4 == 1:
		return Length
	case n%4 == 2 && shifted[1][src[n-1]]&0xffff != 0, n%4 == 3 && shifted[2][src[n-1]]&0xff != 0:
		return Spare
	}
	return Fine
}
