package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
)

// readKeyring reads a keyring for a command that does not change it: from a file, a
// pipe, or, as -, from standard input.
func (e *env) readKeyring(path string) (text []byte, name string, err error) {
	if path == "-" {
		name = "standard input"
		text, err = jwkset.ReadFrom(e.stdin, name)
		return text, name, err
	}
	text, err = jwkset.ReadAny(path)
	return text, path, err
}

func (e *env) loadKeyring(path string) (*wsticket.Keyring, error) {
	text, name, err := e.readKeyring(path)
	if err != nil {
		return nil, err
	}
	keys, err := wsticket.ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}

// warnOfReaders warns of a keyring file that anybody can read, or that others than
// its owner can change. That its group reads it is one way to give it to a service
// (root:SERVICE, 0640). Windows has no such bits.
func (e *env) warnOfReaders(path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil || runtime.GOOS == "windows" || !info.Mode().IsRegular():
	case info.Mode()&0o004 != 0:
		e.warn("%s can be read by every user of this machine, and whoever reads it can mint: chmod o= %s", path, path)
	case info.Mode()&0o022 != 0:
		e.warn("%s can be changed by others than its owner, and whoever changes it can mint: chmod go-w %s", path, path)
	}
}

// editSet changes the keyring in a file. One process at a time does so; readers
// see the old keyring or the new one, whole; what fails changes nothing.
func (e *env) editSet(path string, edit func(*jwkset.Set) error) error {
	if path == "-" {
		return errors.New("the keyring cannot come from standard input: this command changes the file")
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file, and this command changes the file", path)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if _, err := jwkset.ReadFile(target); err != nil {
		return err // before waiting for the lock of what is no file
	}
	// A lock is on a file and not on its name: whoever waited for it while the
	// file was replaced holds the lock of the old one and starts again.
	for {
		unlock, current, err := lockCurrent(target)
		if err != nil {
			return err
		}
		if !current {
			unlock()
			continue
		}
		defer unlock()
		break
	}
	data, err := jwkset.ReadFile(target)
	if err != nil {
		return err
	}
	set, err := jwkset.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	e.warnOfReaders(target)
	if err := edit(set); err != nil {
		return err
	}
	text, err := set.Marshal()
	if err != nil {
		return err
	}
	removeLeftovers(target)
	return replaceFile(target, text)
}

// removeLeftovers removes what processes left beside the file that were killed before
// their rename: whole keyrings, secrets and all. Whoever has the lock of the file knows
// that nobody is about to rename one.
func removeLeftovers(path string) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // the directory can be written to and not read: so be it
	}
	for _, entry := range entries {
		random, ours := strings.CutPrefix(entry.Name(), "."+base+".")
		random, temp := strings.CutSuffix(random, ".tmp")
		if ours && temp && random != "" && strings.Trim(random, "0123456789") == "" && entry.Type().IsRegular() {
			os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}

// lockCurrent locks the file and says whether it still is the one of that name.
func lockCurrent(path string) (unlock func(), current bool, err error) {
	file, err := openToLock(path)
	if err != nil {
		return nil, false, err
	}
	if unlock, err = lock(file); err != nil {
		file.Close()
		return nil, false, fmt.Errorf("%s cannot be locked: %w", path, err)
	}
	held, err := file.Stat()
	if err != nil {
		unlock()
		return nil, false, err
	}
	named, err := os.Stat(path)
	if err != nil {
		unlock()
		return nil, false, err
	}
	return unlock, os.SameFile(held, named), nil
}

// openToLock opens for writing where it can, because a lock over NFS wants that.
func openToLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		file, err = os.Open(path)
	}
	return file, err
}

// replaceFile puts text in place of the file, at once and on the disk. Owner, group
// and the right of both to read stay; all other rights go.
func replaceFile(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp.Name())
		}
	}()
	if err := keepReaders(temp, path); err != nil {
		return errors.Join(err, temp.Close())
	}
	if _, err := temp.Write(text); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Sync(); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	// The rename is in place; without this a power cut may undo it. Not every
	// file system can sync a directory.
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
	return nil
}
