//go:build unix

package gateway

import (
	"net"
	"os"
	"syscall"
)

// A raw connection is read without a buffer that waits: one is taken from the pool
// when there is something to read, and given back before the next wait. So an idle
// connection holds none.
type raw struct{ conn syscall.RawConn }

// rawReader returns nil for connections that have to be read otherwise.
func rawReader(c net.Conn) *raw {
	switch c := c.(type) {
	case *net.TCPConn, *net.UnixConn:
		if conn, err := c.(syscall.Conn).SyscallConn(); err == nil {
			return &raw{conn}
		}
	}
	return nil
}

// copyTo copies until the connection ends: nil for an orderly end.
func (r *raw) copyTo(write func([]byte) (int, error)) error {
	for {
		var (
			buffer *[]byte
			n      int
			err    error
		)
		waited := r.conn.Read(func(fd uintptr) bool {
			buffer = buffers.Get().(*[]byte)
			for {
				n, err = syscall.Read(int(fd), *buffer)
				if err != syscall.EINTR {
					break
				}
			}
			if err == syscall.EAGAIN {
				buffers.Put(buffer)
				buffer = nil
				return false // and wait
			}
			return true
		})
		if waited != nil { // a deadline, or closed
			if buffer != nil {
				buffers.Put(buffer)
			}
			return waited
		}
		if err != nil {
			buffers.Put(buffer)
			return os.NewSyscallError("read", err)
		}
		if n == 0 {
			buffers.Put(buffer)
			return nil
		}
		_, err = write((*buffer)[:n])
		buffers.Put(buffer)
		if err != nil {
			return err
		}
	}
}
