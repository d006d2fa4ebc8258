package redisguard

import (
	"syscall"
	"time"
)

// No server starts here, because Windows cannot freeze one.
const (
	sigStop = syscall.Signal(19)
	sigCont = syscall.Signal(18)
)

// cpuTime is what this process has used, in it and in the kernel.
func cpuTime() (time.Duration, error) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0, err
	}
	var created, ended, kernel, user syscall.Filetime // all in 100 ns
	if err := syscall.GetProcessTimes(self, &created, &ended, &kernel, &user); err != nil {
		return 0, err
	}
	ticks := func(t syscall.Filetime) time.Duration {
		return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
	}
	return ticks(kernel) + ticks(user), nil
}
