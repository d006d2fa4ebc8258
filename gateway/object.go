package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// members reads a JSON object strictly, and hands each member on: the text is UTF-8, no
// name comes twice, and nothing stands behind the object. A fault of each ends it, and is
// returned as it is.
func members(text []byte, each func(name string, value json.RawMessage) error) error {
	// Package json would put one letter for all that is none, and so make two names one.
	if !utf8.Valid(text) {
		return errors.New("is not UTF-8")
	}
	noObject := errors.New("is no JSON object")
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return noObject
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return noObject
		}
		if seen[name] {
			return fmt.Errorf("has %.32q twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return noObject
		}
		if err := each(name, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return noObject
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("has something behind the object")
	}
	return nil
}
