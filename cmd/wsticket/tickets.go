package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/wsticket/wsticket"
)

// eachLine answers each line of standard input with one line. Lines end with LF;
// a CR is part of the ticket. A line over the length of any ticket is read to
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
	for {
		part, err := in.ReadSlice('\n')
		part = bytes.TrimSuffix(part, []byte("\n"))
		dst = append(dst, part[:min(len(part), wsticket.MaxTicketLen+1-len(dst))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return dst, err
		}
	}
}

// compact is JSON without white space outside strings, and safe on a terminal.
func compact(text []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return visible(string(text)) // not JSON: the caller's text is checked already
	}
	return visible(b.String())
}

// code is the refusal code of err. Whatever comes without one is malformed no
// less, but worth its own line.
func code(err error) string {
	if code, ok := wsticket.CodeOf(err); ok {
		return code.Code()
	}
	return wsticket.ErrMalformed.Code()
}
