package wsticket

import "time"

// A KeyringHealth says how fresh the keys of a [Keyring] are. A node whose keyring is
// stale refuses good tickets from the next rotation on; FailingSince tells of it long
// before. All of it is fit for a status page: it names the file and keys, and has no
// secret in it.
type KeyringHealth struct {
	// LoadedAt is when the keys in force were put in force.
	LoadedAt time.Time

	// CheckedAt is when they were last found up to date: by [Keyring.Watch], by
	// [Keyring.Reload] or by a [Keyring.Replace] that succeeded. Where one of these
	// runs every so often, a CheckedAt that lags behind is a node that cannot read
	// its keyring, or a Watch that has ended.
	CheckedAt time.Time

	// Failures counts the attempts that failed, over the life of the keyring.
	Failures uint64

	// FailingSince is when the first attempt failed since the last that succeeded.
	// It is zero when the last attempt succeeded. Until the next success the keys
	// of LoadedAt stay in force.
	FailingSince time.Time

	// LastError is why the last attempt failed. It is nil when it succeeded.
	LastError error
}

// Health says how fresh the keys in force are. It is safe for concurrent use and
// waits for nothing but a replacement that is under way.
func (k *Keyring) Health() KeyringHealth {
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	return k.state.health
}

// checked notes how an attempt to bring the keys up to date ended.
func (s *keyringState) checked(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.health
	h.LastError = err
	if err == nil {
		h.CheckedAt, h.FailingSince = now, time.Time{}
		return
	}
	h.Failures++
	if h.FailingSince.IsZero() {
		h.FailingSince = now
	}
}
