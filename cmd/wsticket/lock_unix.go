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

// keepReaders gives temp the owner and the group of the file that it is to replace,
// and the group's right to read: a keyring rotated by root must stay readable for the
// service that it is for.
func keepReaders(temp *os.File, path string) error {
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	fresh, err := temp.Stat()
	if err != nil {
		return err
	}
	was, ok1 := old.Sys().(*syscall.Stat_t)
	is, ok2 := fresh.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 {
		return nil
	}
	if was.Uid != is.Uid {
		if err := temp.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return fmt.Errorf("%s belongs to another user, who could not read it any more: run this as that user", path)
		}
	}
	shared := old.Mode().Perm() & 0o040
	if was.Gid != is.Gid {
		// Without the right to read, it does not matter whose group it is.
		if err := temp.Chown(-1, int(was.Gid)); err != nil && shared != 0 {
			return fmt.Errorf("%s is read by a group that could not read it any more: run this as a member of that group or as root", path)
		}
	}
	// After the group, so that no other one can read it for a moment.
	return temp.Chmod(0o600 | shared)
}
