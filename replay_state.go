package wsticket

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Seal ends the cache: when it has returned, Spend accepts nothing more. It refuses
// with [ErrReplayUnavailable], after which clients wait and try again. There is no way
// back; what the cache knows is left for [ReplayCache.Save]. Further calls do nothing.
// Seal may be called while others call Spend.
func (c *ReplayCache) Seal() {
	c.sealed.Store(true)
	c.seal()
}

// Save seals the cache and writes what it knows to a file, for the process that
// follows: [LoadReplayCache] goes on where this cache ended. Call it when the server
// takes no more handshakes, because what comes later is refused.
//
// When Save returns nil the file is complete and on the disk. When it returns an error
// there is none, and Save may be called again. After a success it may not: two files
// of one cache would be two ways to use a ticket. For the same reason the file must
// not be copied, and each node needs a path of its own. The folder must exist; a file
// that stands at path is replaced. The file has mode 0600. It holds no secret and no
// ticket, only parts of the MACs of tickets that were used: some 24 bytes for each
// live ticket at the peak that was configured.
func (c *ReplayCache) Save(path string) error { return c.SaveAt(time.Now(), path) }

// SaveAt is Save at a given time, from which [LoadReplayCacheAt] tells how old the file
// is.
func (c *ReplayCache) SaveAt(now time.Time, path string) error {
	c.Seal()
	c.saving.Lock()
	defer c.saving.Unlock()
	if c.saved != "" {
		return fmt.Errorf("wsticket: ReplayCache: it was saved to %s already; save a cache once", c.saved)
	}
	if s := now.Unix(); s < 0 || s >= timeEnd {
		return fmt.Errorf("wsticket: ReplayCache: cannot save at %v; give a time from 1970 on", now)
	}
	if err := c.writeFile(path, now.Unix()); err != nil {
		return fmt.Errorf("wsticket: ReplayCache: not saved: %w", err)
	}
	c.saved = path
	return nil
}

// LoadReplayCache makes a ReplayCache that goes on where the one ended that
// [ReplayCache.Save] wrote to path. What was used stays used, and no fresh ticket is
// refused because of the restart: ReadyAt lies in the past. A file is used once: when
// LoadReplayCache returns a cache there is no file at path.
//
// If there is no file, as after a crash and at the first start, LoadReplayCache does
// what [NewReplayCache] does.
//
// LoadReplayCache may return a cache and an error. Then there was a file, and it could
// not be used: it is damaged; it was saved under another configuration or number of
// processors; it was saved later than now; or so long ago that all its tickets have
// expired. That cache refuses what was issued before now, as one of NewReplayCache
// does. Or the file was used, and its process had started while its clock was ahead.
// Log the error and go on. If there is an error and no cache, then cfg is wrong, or
// there is a file that was never a saved state, which is left alone, or it cannot be read
// or removed:
//
//	cache, err := wsticket.LoadReplayCache(path, cfg)
//	if cache == nil {
//		return err
//	}
//	if err != nil {
//		log.Print(err)
//	}
func LoadReplayCache(path string, cfg ReplayConfig) (*ReplayCache, error) {
	return LoadReplayCacheAt(time.Now(), path, cfg)
}

// LoadReplayCacheAt is LoadReplayCache at a given time, which is also what a zero Since
// of cfg stands for.
func LoadReplayCacheAt(now time.Time, path string, cfg ReplayConfig) (*ReplayCache, error) {
	since := cfg.Since
	if cfg.Since.IsZero() {
		cfg.Since = now
	}
	c, err := NewReplayCache(cfg)
	if err != nil {
		return nil, err
	}
	f, err := openState(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wsticket: ReplayCache: the saved state must be a file that can be read and written, or not be there: %w", err)
	}
	defer f.Close()
	if foreign(f) {
		return nil, fmt.Errorf("wsticket: ReplayCache: %s is no saved state, and is left as it is; give a path that nothing else uses", path)
	}
	past, doubt := c.restore(f, now.Unix())
	if err := discard(f, path); err != nil {
		return nil, fmt.Errorf("wsticket: ReplayCache: a saved state that stays could be used twice; remove %s: %w", path, err)
	}
	if doubt == nil {
		c.notBefore(past.notAfter, since.IsZero())
		if ready := c.readyAt; ready.Unix() > now.Unix()+2*c.behind+1 {
			return c, fmt.Errorf("wsticket: ReplayCache: the saved state %s is of a process that started while its clock was ahead; until %v tickets are refused as issued before the start. If this clock is right, stop, remove the file and start again", path, ready.UTC())
		}
		return c, nil
	}
	// The tables may be half full by now: start with new ones. There was a process before
	// this one, so its tickets are refused whatever cfg says of the start.
	if cfg.Since.Before(now) {
		cfg.Since = now
	}
	if c, err = NewReplayCache(cfg); err != nil {
		return nil, err
	}
	if past != nil {
		c.notBefore(past.notAfter, false)
		c.closeAll(past, now.Unix())
	}
	return c, fmt.Errorf("wsticket: ReplayCache: the saved state %s was not used, and tickets that were issued before now are refused: %w", path, doubt)
}

// notBefore takes over from when on a cache remembers: in any case, or if it is later
// than this cache has it.
func (c *ReplayCache) notBefore(notAfter int64, anyway bool) {
	if anyway || notAfter > c.notAfter {
		c.notAfter = notAfter
	}
	c.readyAt = time.Unix(c.notAfter+c.behind+1, 0)
}

// stateStep is where tests end the process, between one step and the next.
var stateStep = func(string) {}

func (c *ReplayCache) writeFile(path string, now int64) (err error) {
	temp := path + ".new"
	if err := remove(temp); err != nil { // of a process that was killed
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), remove(temp))
		}
	}()
	stateStep("created")
	if err := c.write(f, now); err != nil {
		return err
	}
	stateStep("written")
	// A copy of the file has another time of change, unless whoever made it took care.
	if err := os.Chtimes(temp, time.Time{}, stateTime(now)); err != nil {
		return err
	}
	switch info, err := os.Stat(temp); {
	case err != nil:
		return err
	case !info.ModTime().Equal(stateTime(now)):
		return fmt.Errorf("the file system of %s does not keep a file's time of change; choose another", path)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	stateStep("synced")
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	stateStep("renamed")
	if err := syncFolder(path); err != nil {
		return errors.Join(err, remove(path))
	}
	stateStep("saved")
	return nil
}

// stateTime is the time of change of a file that was saved then: even seconds, since
// some file systems know no finer ones.
func stateTime(saved int64) time.Time { return time.Unix(saved&^1, 0) }

func openState(path string) (*os.File, error) {
	// Opening a pipe would wait for whoever is at its other end.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// foreign says whether a file was never a state, so that a path that is wrong costs nobody
// a file. One that is empty, or whose beginning is damaged by a few bytes or by zeros, may have been
// one and must go: should it be read better another time, it could be used twice.
func foreign(f *os.File) bool {
	var b [len(stateMagic)]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return false
	}
	zeros, others := 0, 0
	for i, c := range b[:n] {
		switch c {
		case stateMagic[i]:
		case 0:
			zeros++
		default:
			others++
		}
	}
	return 2*others > n && zeros == 0
}

// discard makes sure that nobody uses the file again, before this process accepts
// anything. It empties the file before it removes it: should the removal be lost in a
// power failure, an empty file comes back. If two processes come here at once, one of
// them fails.
func discard(f *os.File, path string) error {
	stateStep("loaded")
	named, err := os.Stat(path)
	if err != nil {
		return err
	}
	held, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(held, named) {
		return errors.New("another process has replaced it; give each node a path of its own")
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	stateStep("emptied")
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	stateStep("removed")
	if err := syncFolder(path); err != nil {
		return err
	}
	stateStep("discarded")
	return nil
}

// remove removes a file if it is there.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// syncFolder makes the names in the folder of path last. Where a system cannot do it
// for a folder, nothing is unsafe without: a file that is lost was not saved, and one
// that comes back is empty.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
