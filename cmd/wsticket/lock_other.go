//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// lock makes a file beside the one to lock, and waits while there is one.
func lock(file *os.File) (unlock func(), err error) {
	name := file.Name() + ".lock"
	for range 100 {
		mark, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			mark.Close()
			file.Close() // an open file could not be replaced
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s has been there for 10 s: if no other wsticket runs, delete it", name)
}

func keepReaders(*os.File, string) error { return nil }
