package jwkset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// Marshal writes the set with its secrets, one key a line. Members of the set
// and of its keys that the format does not know come back as they were read.
func (s *Set) Marshal() ([]byte, error) {
	out := []byte(`{"keys":[`)
	for i := range s.keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, "\n  "...)
		var err error
		if out, err = s.keys[i].append(out); err != nil {
			return nil, fmt.Errorf("key %q: %w", s.keys[i].KeyID, err)
		}
	}
	out = append(out, "\n]"...)
	out, err := appendMembers(out, s.extra)
	if err != nil {
		return nil, err
	}
	out = append(out, "}\n"...)
	// A set that could not be read back would take the file it replaces with it.
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("the key set would not be valid: %w", err)
	}
	return out, nil
}

func (k *Key) append(dst []byte) ([]byte, error) {
	key, err := jwk.Import(k.Secret)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{jwk.KeyIDKey: k.KeyID, jwk.AlgorithmKey: k.Alg}
	if k.use {
		fields[jwk.KeyUsageKey] = "sig"
	}
	if k.IssuedAt != 0 {
		fields["iat"] = k.IssuedAt
	}
	if k.NotBefore != 0 {
		fields["nbf"] = k.NotBefore
	}
	if k.Expires != Never {
		fields["exp"] = k.Expires
	}
	for name, value := range fields {
		if err := key.Set(name, value); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	dst = append(dst, bytes.TrimSuffix(text, []byte("}"))...)
	if dst, err = appendMembers(dst, k.extra); err != nil {
		return nil, err
	}
	return append(dst, '}'), nil
}

// appendMembers adds members to an object that has some already.
func appendMembers(dst []byte, members []member) ([]byte, error) {
	for _, m := range members {
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		dst = append(dst, ',')
		dst = append(dst, name...)
		dst = append(dst, ':')
		line := bytes.NewBuffer(dst)
		if err := json.Compact(line, m.value); err != nil {
			return nil, err
		}
		dst = line.Bytes()
	}
	return dst, nil
}

// Format prints the key without its secret, whatever the verb.
func (k Key) Format(state fmt.State, _ rune) { fmt.Fprint(state, k.String()) }

// String describes the key without its secret.
func (k Key) String() string {
	text := fmt.Sprintf("key %s %s", k.KeyID, k.Alg)
	if k.NotBefore != 0 {
		text += " from " + stamp(k.NotBefore)
	}
	if k.Expires != Never {
		text += " until " + stamp(k.Expires)
	}
	return text + " [secret redacted]"
}

// LogValue logs kid and alg.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kid", k.KeyID), slog.String("alg", k.Alg), slog.String("k", "redacted"))
}

// MarshalJSON writes kid and alg; the secret goes out through [Set.Marshal] only.
func (k Key) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"kid": k.KeyID, "alg": k.Alg, "k": "redacted"})
}

// Format prints the keys without their secrets, whatever the verb.
func (s *Set) Format(state fmt.State, _ rune) { fmt.Fprint(state, s.String()) }

// String describes the keys without their secrets.
func (s *Set) String() string { return fmt.Sprintf("key set %v", s.keys) }

// LogValue logs kid and alg of each key.
func (s *Set) LogValue() slog.Value { return slog.AnyValue(s.keys) }

// MarshalJSON writes kid and alg of each key; use [Set.Marshal] for the file.
func (s *Set) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]Key{"keys": s.keys})
}

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
