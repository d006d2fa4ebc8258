package jsonscan

import (
	"errors"
	"fmt"
)

// ErrSyntax is the error of every text that is not the JSON asked for.
var ErrSyntax = errors.New("not valid JSON")

// A DuplicateError names a member that an object holds twice.
type DuplicateError struct{ Name string }

func (e *DuplicateError) Error() string { return fmt.Sprintf("member %q is given twice", e.Name) }

// Object calls visit for each member of the one object that data holds, in
// order; name is unescaped, value is a view of data. The text is checked whole
// before the first call. Nesting beyond maxDepth (the object itself is the first
// level) is a fault, and so is a name that comes twice in the object itself.
func Object(data []byte, maxDepth int, visit func(name string, value []byte) error) error {
	if err := whole(data, '{', maxDepth); err != nil {
		return err
	}
	seen := make(map[string]bool)
	return each(data, func(name string, value []byte) error {
		if seen[name] {
			return &DuplicateError{name}
		}
		seen[name] = true
		return visit(name, value)
	})
}

// Array calls visit for each element of the one array that data holds, in order.
func Array(data []byte, maxDepth int, visit func(i int, value []byte) error) error {
	if err := whole(data, '[', maxDepth); err != nil {
		return err
	}
	n := -1
	return each(data, func(_ string, value []byte) error {
		n++
		return visit(n, value)
	})
}

// Text returns the text of a string value, and false for any other.
func Text(value []byte) (string, bool) {
	end, escaped := String(value, 0)
	if end != len(value) {
		return "", false
	}
	raw := value[1 : end-1]
	if !escaped {
		return string(raw), true
	}
	return string(AppendUnescaped(make([]byte, 0, len(raw)), raw)), true
}

// Valid says whether data is one value with at most maxDepth levels, and nothing
// but white space around it.
func Valid(data []byte, maxDepth int) bool {
	end := Value(data, Space(data, 0), maxDepth)
	return end != Fault && Space(data, end) == len(data)
}

func whole(data []byte, opening byte, maxDepth int) error {
	i := Space(data, 0)
	if i >= len(data) || data[i] != opening || !Valid(data, maxDepth) {
		return ErrSyntax
	}
	return nil
}

// each walks the members or elements of a container known to be valid.
func each(data []byte, visit func(name string, value []byte) error) error {
	i := Space(data, 0)
	named := data[i] == '{'
	i = Space(data, i+1)
	for data[i] != '}' && data[i] != ']' {
		var name string
		if named {
			end, _ := String(data, i)
			name, _ = Text(data[i:end])
			i = Space(data, Space(data, end)+1)
		}
		end := Value(data, i, len(data))
		if err := visit(name, data[i:end]); err != nil {
			return err
		}
		if i = Space(data, end); data[i] == ',' {
			i = Space(data, i+1)
		}
	}
	return nil
}
