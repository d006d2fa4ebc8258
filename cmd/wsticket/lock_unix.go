//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"fmt"
	"os"
	"syscall"
)

// lock waits for the lock on an open file. It goes with the process at the latest.
func lock(file *os.File) (unlock func(), err error) {
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}

// keepOwner gives temp to the owner of the file that it is to replace: a keyring
// rotated by root must stay readable for the service that it is for.
func keepOwner(temp *os.File, path string) error {
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	if err := temp.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("%s belongs to another user, who could not read it any more: run this as that user", path)
	}
	return nil
}
