package etcdguard

import "syscall"

// No server starts here, because Windows cannot freeze one.
const (
	sigStop = syscall.Signal(19)
	sigCont = syscall.Signal(18)
)
