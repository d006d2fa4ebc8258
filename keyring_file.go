package wsticket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/jwkset"
)

// LoadKeyring reads the keyring in a file, which must be a regular one or a link
// to one.
func LoadKeyring(path string) (*Keyring, error) {
	jwks, err := jwkset.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("wsticket: keyring: %w", err)
	}
	k, err := ParseKeyring(jwks)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// Watch looks at the file every so often and puts its keys in force when its
// content has changed, also when the file is replaced by a rename or through a
// link. It blocks until ctx ends and returns ctx's error; it returns at once
// with another error only when every is below a millisecond.
//
// A content that is no keyring (half-written, unreadable, refused by
// [Keyring.Replace]) leaves the keys in force and is reported once, as is a key
// that returns (*[ReturnedKeysError]). report is called by the goroutine that
// called Watch; nil reports nothing.
func (k *Keyring) Watch(ctx context.Context, path string, every time.Duration, report func(error)) error {
	if every < time.Millisecond {
		return fmt.Errorf("wsticket: Keyring.Watch: every is %v; give a millisecond or more", every)
	}
	if report == nil {
		report = func(error) {}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	w := watched{keyring: k, path: path}
	for {
		if err := w.look(); err != nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// A ReturnedKeysError reports keys that [Keyring.Returned] names. They are in
// force.
type ReturnedKeysError struct{ KeyIDs []string }

func (e *ReturnedKeysError) Error() string {
	return fmt.Sprintf("wsticket: keyring: %s had been dropped or had expired and is in force again; take it out if it was revoked", strings.Join(e.KeyIDs, ", "))
}

// watched is a keyring file between two looks.
type watched struct {
	keyring *Keyring
	path    string
	inForce [sha256.Size]byte // of the content last put in force
	fault   string            // why the last look put nothing in force
}

// look returns what there is to report, each fault once. A content that was
// refused is tried again: what it clashed with may be gone from the keyring.
func (w *watched) look() error {
	content, err := jwkset.ReadFile(w.path)
	if err != nil {
		return w.report(fmt.Errorf("wsticket: keyring: %w", err))
	}
	sum := sha256.Sum256(content)
	if sum == w.inForce {
		w.fault = ""
		return nil
	}
	if err := w.keyring.Replace(content); err != nil {
		return w.report(fmt.Errorf("%s: %w", w.path, err))
	}
	w.inForce, w.fault = sum, ""
	if returned := w.keyring.Returned(); len(returned) > 0 {
		return &ReturnedKeysError{KeyIDs: returned}
	}
	return nil
}

// report returns err unless it was the last fault too.
func (w *watched) report(err error) error {
	if err.Error() == w.fault {
		return nil
	}
	w.fault = err.Error()
	return err
}
