package interop

import "syscall"

// endsWithUs makes a process die when this one does.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
