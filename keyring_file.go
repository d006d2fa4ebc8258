package wsticket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/jwkset"
)

// LoadKeyring reads the keyring in a file, which must be a regular one or a link to
// one. For a keyring from elsewhere use [ParseKeyring].
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

// Reload does once what [Keyring.Watch] does every so often: it puts the keys in the
// file in force if they are not yet, all or nothing. It is for programs that hear of
// a new file, by a signal say. With an error the keys in force stay, but for a
// *[ReturnedKeysError], which reports keys that are in force now.
func (k *Keyring) Reload(path string) error {
	content, err := jwkset.ReadFile(path)
	return k.take(time.Now(), path, content, err)
}

// take puts in force what was read from path.
func (k *Keyring) take(now time.Time, path string, content []byte, err error) error {
	s := k.state
	switch {
	case err != nil:
		err = fmt.Errorf("wsticket: keyring: %w", err)
	case sha256.Sum256(content) == s.inForce.Load().sum:
		s.checked(now, nil)
		return nil
	default:
		if err = s.replace(now, content); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	s.checked(now, err)
	if err != nil {
		return err
	}
	if returned := k.Returned(); len(returned) > 0 {
		return &ReturnedKeysError{KeyIDs: returned}
	}
	return nil
}

// Watch looks at the file every so often and puts its keys in force when its
// content has changed, also when the file is replaced by a rename or through a
// link. It blocks until ctx ends and returns ctx's error; it returns at once
// with another error only when every is below a millisecond.
//
// If the file has no keyring in it (it is unreadable, cut off, refused by
// [Keyring.Replace]), the keys in force stay, and the fault is reported once. A key
// that returns (*[ReturnedKeysError]) is reported once too. [Keyring.Health] says since
// when the file is at fault. report is called by the goroutine that called Watch; nil
// reports nothing.
//
// The file should be replaced by a rename, as "wsticket keys rotate" and mounted
// secrets do it. Where it is written in place, a look can meet a mixture of the old
// file and the new one that happens to be a keyring. So Watch judges no content that
// it sees for the first time: it looks again 200 ms later (or after every, if that
// is shorter) and waits for the file to stand still, two seconds at most.
func (k *Keyring) Watch(ctx context.Context, path string, every time.Duration, report func(error)) error {
	if every < time.Millisecond {
		return fmt.Errorf("wsticket: Keyring.Watch: every is %v; give a millisecond or more", every)
	}
	if report == nil {
		report = func(error) {}
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	w := watched{keyring: k, path: path}
	for {
		settled, err := w.look(time.Now())
		if err != nil {
			report(err)
		}
		if settled {
			timer.Reset(every)
		} else {
			timer.Reset(min(every, settleTime))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
}

const (
	settleTime  = 200 * time.Millisecond // between two looks at a content that is new
	maxUnsteady = 10                     // such looks in a row before it is judged all the same
)

// A ReturnedKeysError reports keys that [Keyring.Returned] names. They are in
// force.
type ReturnedKeysError struct{ KeyIDs []string }

func (e *ReturnedKeysError) Error() string {
	return fmt.Sprintf("wsticket: keyring: %s had been dropped or had expired and is in force again; take it out if it was revoked", strings.Join(e.KeyIDs, ", "))
}

// watched is a keyring file between two looks.
type watched struct {
	keyring  *Keyring
	path     string
	taken    [sha256.Size]byte // of the content last put in force from here
	seen     [sha256.Size]byte // of what the last look met: a content, or an error
	unsteady int               // looks in a row that met something new
	fault    string            // why the last look put nothing in force
}

// look returns what there is to report, each fault once, and whether it has judged
// what it met. A content that was refused is tried again: what it clashed with may
// be gone from the keyring.
func (w *watched) look(now time.Time) (settled bool, err error) {
	content, err := jwkset.ReadFile(w.path)
	sum := sha256.Sum256(content)
	// What is in force already needs no second look. A keyring that the program has
	// replaced by other means stays until the file changes.
	if err == nil && (sum == w.taken || sum == w.keyring.state.inForce.Load().sum) {
		w.taken, w.seen, w.unsteady, w.fault = sum, sum, 0, ""
		w.keyring.state.checked(now, nil)
		return true, nil
	}
	if err != nil {
		sum = sha256.Sum256([]byte(err.Error()))
	}
	if sum != w.seen && w.unsteady < maxUnsteady {
		w.seen = sum
		w.unsteady++
		return false, nil
	}
	w.seen, w.unsteady = sum, 0
	err = w.keyring.take(now, w.path, content, err)
	if _, returned := err.(*ReturnedKeysError); err == nil || returned {
		w.taken, w.fault = sum, ""
		return true, err
	}
	if err.Error() == w.fault {
		return true, nil
	}
	w.fault = err.Error()
	return true, err
}
