package interop

import (
	"os"
	"syscall"
)

// ownGroup is for what Windows has not: there the process alone is ended.
func ownGroup() *syscall.SysProcAttr { return nil }

func killGroup(first *os.Process)      { first.Kill() }
func groupRuns(first *os.Process) bool { return false }

func running(pid int) bool {
	p, err := os.FindProcess(pid)
	if err == nil {
		p.Release()
	}
	return err == nil
}
