package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/wsticket/wsticket"
)

// eachLine answers each line of standard input with one line. Lines end with LF or
// with CR LF; any other CR is part of the ticket. A line over the length of any ticket is read to
// its end, and of it only as much is kept as shows that it is too long. It
// returns errRefused when any answer was a refusal.
func (e *env) eachLine(answer func(ticket []byte) (text string, ok bool)) error {
	in := bufio.NewReaderSize(e.stdin, 64<<10)
	out := bufio.NewWriterSize(e.stdout, 64<<10)
	all := true
	line := make([]byte, 0, wsticket.MaxTicketLen+1)
	for {
		var err error
		line, err = readLine(in, line[:0])
		if err != nil && (err != io.EOF || len(line) == 0) {
			if flushErr := out.Flush(); err == io.EOF {
				err = flushErr
			}
			if err == nil && !all {
				err = errRefused
			}
			return err
		}
		text, ok := answer(line)
		all = all && ok
		out.WriteString(text)
		out.WriteByte('\n')
		// Whoever types, or waits for an answer before the next ticket, gets it.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// readLine appends the next line to dst, at most MaxTicketLen+1 bytes of it. At
// the end of the input, dst is empty or holds a last line that had no LF.
func readLine(in *bufio.Reader, dst []byte) ([]byte, error) {
	n := 0 // the length of the line, kept or not
	for {
		part, err := in.ReadSlice('\n')
		line, ended := bytes.CutSuffix(part, []byte("\n"))
		n += len(line)
		dst = append(dst, line[:min(len(line), wsticket.MaxTicketLen+1-len(dst))]...)
		if ended && n == len(dst) { // else the last byte of dst is not that of the line
			dst = bytes.TrimSuffix(dst, []byte("\r"))
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return dst, err
		}
	}
}

// code is the refusal code of err. Whatever comes without one is malformed no
// less, but worth its own line.
func code(err error) string {
	if code, ok := wsticket.CodeOf(err); ok {
		return code.Code()
	}
	return wsticket.ErrMalformed.Code()
}
