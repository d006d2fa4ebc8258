//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package gateway

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockState makes this process the only one that saves its memory at path, for as long
// as the file that it returns is open. A process that started while another was still
// at its end would find nothing saved, and leave what the other saves then for a third
// one, which would take it for the memory of the second.
func lockState(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			err = fmt.Errorf("%w: %s; wait until it has ended, or name another file", errStateInUse, path)
		}
		f.Close()
		return nil, err
	}
}
