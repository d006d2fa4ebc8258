package jwkset

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReadFile reads no more than a set may be long, and only from a regular file or
// a link to one: a pipe would block, and a device need not end. It looks at what it
// has opened, without waiting for the other end of a pipe to do so.
func ReadFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: name the keyring file in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is empty: make a keyring with \"wsticket keys generate\"", path)
	}
	return io.ReadAll(io.LimitReader(file, MaxBytes+1))
}
