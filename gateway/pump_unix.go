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
type raw struct {
	conn syscall.RawConn

	// What read leaves. They are here so that a message costs no memory.
	buffer *[]byte
	n      int
	err    error
}

// rawReader returns nil for connections that have to be read otherwise.
func rawReader(c net.Conn) *raw {
	switch c := c.(type) {
	case *net.TCPConn, *net.UnixConn:
		if conn, err := c.(syscall.Conn).SyscallConn(); err == nil {
			return &raw{conn: conn}
		}
	}
	return nil
}

// read reads once. It is false where there is nothing yet.
func (r *raw) read(fd uintptr) bool {
	r.buffer = buffers.Get().(*[]byte)
	for {
		r.n, r.err = syscall.Read(int(fd), *r.buffer)
		if r.err != syscall.EINTR {
			break
		}
	}
	if r.err == syscall.EAGAIN {
		r.release()
		return false // and wait
	}
	return true
}

func (r *raw) release() {
	if r.buffer != nil {
		buffers.Put(r.buffer)
		r.buffer = nil
	}
}

// copyTo copies until the connection ends: nil for an orderly end.
func (r *raw) copyTo(write func([]byte) (int, error)) error {
	read := r.read
	for {
		err := r.conn.Read(read)
		switch {
		case err != nil: // a deadline, or closed
		case r.err != nil:
			err = os.NewSyscallError("read", r.err)
		case r.n == 0:
			r.release()
			return nil
		default:
			_, err = write((*r.buffer)[:r.n])
		}
		r.release()
		if err != nil {
			return err
		}
	}
}
