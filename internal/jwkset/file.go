package jwkset

import (
	"fmt"
	"io"
	"os"
)

// ReadFile reads no more than a set may be long, and only from a regular file or
// a link to one: a pipe would block, and a device need not end. It looks at what it
// has opened, without waiting for the other end of a pipe to do so.
//
// A file that somebody writes to meanwhile is read again. That catches the writer that
// is at work during the read; one that pauses between two writes is the caller's to
// notice (see Keyring.Watch).
func ReadFile(path string) ([]byte, error) {
	for range 3 {
		data, steady, err := readOnce(path)
		if err != nil || steady {
			return data, err
		}
	}
	return nil, fmt.Errorf("%s changes while it is read: write a new file beside it and rename that over it", path)
}

// readOnce reads the file and says whether it was the same before and after.
func readOnce(path string) (data []byte, steady bool, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	before, err := file.Stat()
	switch {
	case err != nil:
		return nil, false, err
	case before.IsDir():
		return nil, false, fmt.Errorf("%s is a directory: name the keyring file in it", path)
	case !before.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a regular file", path)
	case before.Size() == 0:
		return nil, false, emptyError(path)
	}
	if data, err = limited(file); err != nil {
		return nil, false, err
	}
	after, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	whole := int64(len(data)) == after.Size() || len(data) > MaxBytes
	return data, whole && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime()), nil
}

// ReadAny reads what ReadFile reads and besides it pipes and devices, for which it
// waits, with the same limit. It is for commands that somebody can interrupt.
func ReadAny(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode().IsRegular() {
		return ReadFile(path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ReadFrom(file, path)
}

// ReadFrom reads a stream that an error calls by name, with the limit of ReadFile.
func ReadFrom(r io.Reader, name string) ([]byte, error) {
	data, err := limited(r)
	if err == nil && len(data) == 0 {
		err = emptyError(name)
	}
	return data, err
}

// limited reads one byte more than a set may be long: enough for Parse to see that
// it is too long.
func limited(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, MaxBytes+1)) }

func emptyError(name string) error {
	return fmt.Errorf("%s is empty: make a keyring with \"wsticket keys generate\"", name)
}
