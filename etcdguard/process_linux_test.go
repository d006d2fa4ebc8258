package etcdguard

import "syscall"

// endsWithUs makes a process of its own group, which dies when this one does.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
