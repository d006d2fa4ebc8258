//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRotationKeepsReaders: a keyring that root gives to a service by its group stays
// the service's, and one that belongs to another user stays that user's.
func TestRotationKeepsReaders(t *testing.T) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test wants root, to give a file to another user and group")
		}
		t.Skip("only root can give a file to another user and group: run go test as root")
	}
	for name, c := range map[string]struct {
		uid, gid   int
		mode, want os.FileMode
	}{
		"root:SERVICE 0640":       {uid, 12345, 0o640, 0o640},
		"root:SERVICE 0600":       {uid, 12345, 0o600, 0o600},
		"root:SERVICE 0660":       {uid, 12345, 0o660, 0o640},
		"root:SERVICE 0644":       {uid, 12345, 0o644, 0o640},
		"SERVICE:SERVICE 0600":    {12345, 12345, 0o600, 0o600},
		"SERVICE:root 0640":       {12345, gid, 0o640, 0o640},
		"SERVICE:OTHER 0440":      {12345, 23456, 0o440, 0o640},
		"root:root 0640":          {uid, gid, 0o640, 0o640},
		"root:root 0400, its own": {uid, gid, 0o400, 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyringFile(t)
			if err := os.Chown(path, c.uid, c.gid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"keys", "rotate", "-activate-in", "0s", "-keys", path}, {"keys", "revoke", "-kid", "first", "-keys", path}} {
				if code, _, stderr := try(time.Unix(1_795_219_200, 0), nil, args...); code != 0 {
					t.Fatal(stderr)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				stat := info.Sys().(*syscall.Stat_t)
				if int(stat.Uid) != c.uid || int(stat.Gid) != c.gid || info.Mode().Perm() != c.want {
					t.Errorf("%s: now %d:%d %o", args[1], stat.Uid, stat.Gid, info.Mode().Perm())
				}
			}
		})
	}
}

// TestRotationThatWouldLockOut: who cannot keep the readers of a file leaves it alone.
// The test asks as another user, in a process of its own.
func TestRotationThatWouldLockOut(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test wants root, to become another user")
		}
		t.Skip("only root can become another user: run go test as root")
	}
	const user = 23456
	for name, c := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		word     string
	}{
		"another user's":                   {12345, user, 0o640, "belongs to another user"},
		"read by a group of others":        {user, 12345, 0o640, "read by a group"},
		"a group that may not read anyhow": {user, 12345, 0o600, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, program := publicDir(t, user)
			path := filepath.Join(dir, "keys.json")
			text, err := os.ReadFile(keyringFile(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, c.uid, c.gid); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rotate := exec.Command(program, "keys", "rotate", "-keys", path)
			rotate.Env = append(os.Environ(), beTheProgram+"=1")
			rotate.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
			out, err := rotate.CombinedOutput()
			after, readErr := os.ReadFile(path)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			changed := string(before) != string(after)
			switch {
			case c.word == "" && (err != nil || !changed):
				t.Errorf("%v, %s", err, out)
			case c.word != "" && (err == nil || changed || !strings.Contains(string(out), c.word)):
				t.Errorf("changed %v, %v, %s", changed, err, out)
			}
		})
	}
}

// publicDir returns a directory that belongs to the user, and a copy of this program
// that everybody can run.
func publicDir(t *testing.T, user int) (dir, program string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wsticket-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "wsticket.test")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, program} {
		if err := os.Chown(path, user, user); err != nil {
			t.Fatal(err)
		}
	}
	return dir, program
}
