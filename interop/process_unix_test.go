//go:build unix

package interop

import (
	"os"
	"syscall"
	"time"
)

// ownGroup makes a process the first of a group, which killGroup ends whole.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(first *os.Process)      { syscall.Kill(-first.Pid, syscall.SIGKILL) }
func groupRuns(first *os.Process) bool { return syscall.Kill(-first.Pid, 0) == nil }
func running(pid int) bool             { return syscall.Kill(pid, 0) == nil }

// cpuTime is what this process has used, in it and in the kernel.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
