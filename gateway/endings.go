package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/wsticket/wsticket/live"
)

// endings are the sessions that were ended here of late. A ticket that was minted
// before its session ended must not get in after a restart, so they are saved with the
// memory of used tickets. Where a store has a bus, the bus tells them.
type endings struct {
	mu      sync.Mutex
	keep    time.Duration // for as long as a ticket of them can be alive
	list    []live.Ending
	dropped int64 // when the last ended that is in the list no more, in seconds since 1970
	saved   bool
}

// maxEndings bounds the memory. When it is full the next process begins without, and
// refuses what was minted before it.
const maxEndings = 100_000

// add says whether the next process will know of the ending: what comes after the list
// was saved, it does not.
func (e *endings) add(now time.Time, ending live.Ending) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.recent(now), ending)
	return !e.saved
}

// recent drops those that no ticket can be alive of.
func (e *endings) recent(now time.Time) []live.Ending {
	first := 0
	for first < len(e.list) && e.list[first].At < now.Add(-e.keep).Unix() {
		e.dropped = max(e.dropped, e.list[first].At)
		first++
	}
	return e.list[first:]
}

var (
	errManyEndings = errors.New("more sessions ended of late than are kept")
	errClockBack   = errors.New("the clock was ahead and was set back, and sessions that ended of late were forgotten meanwhile")
)

// save writes the file, whole or not at all.
func (e *endings) save(now time.Time, path string) error {
	e.mu.Lock()
	list := e.recent(now)
	forgot := e.dropped >= now.Add(-e.keep).Unix()
	e.saved = true
	e.mu.Unlock()
	switch {
	case len(list) > maxEndings:
		return errManyEndings
	case forgot:
		return errClockBack
	}
	content, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeFile(path, content)
}

func writeFile(path string, content []byte) error {
	// A new file, whoever has put one or a link there.
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(path + ".new")
		return err
	}
	return os.Rename(path+".new", path)
}

// loadEndings reads what save wrote, and takes the file away: the next process must not
// read an old one. No file means that nothing was saved.
func loadEndings(path string) (list []live.Ending, found bool, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, false, fmt.Errorf("%s is damaged", path)
	}
	for _, ending := range list {
		if ending.Check() != nil {
			return nil, false, fmt.Errorf("%s is damaged", path)
		}
	}
	return list, true, os.Remove(path)
}
