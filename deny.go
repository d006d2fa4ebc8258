package wsticket

import (
	"bufio"
	"net"
	"net/http"
)

// A denial is the ResponseWriter of GateConfig.Deny. To say nothing, or no status, is to
// say 200 in net/http, and a client could take that for an acceptance: here it is to say
// the status of the refusal.
type denial struct {
	http.ResponseWriter
	status int
	said   bool
}

func (d *denial) WriteHeader(status int) {
	d.said = d.said || status >= 200 || status == http.StatusSwitchingProtocols
	d.ResponseWriter.WriteHeader(status)
}

func (d *denial) Write(p []byte) (int, error) {
	d.begin()
	return d.ResponseWriter.Write(p)
}

func (d *denial) begin() {
	if !d.said {
		d.WriteHeader(d.status)
	}
}

// Flush is that of the writer, where it has one.
func (d *denial) Flush() { d.FlushError() }

// FlushError is Flush for an http.ResponseController.
func (d *denial) FlushError() error {
	d.begin()
	return http.NewResponseController(d.ResponseWriter).Flush()
}

// Hijack is that of the writer, where it has one.
func (d *denial) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(d.ResponseWriter).Hijack()
	d.said = d.said || err == nil
	return conn, buffered, err
}

// Unwrap is for an http.ResponseController.
func (d *denial) Unwrap() http.ResponseWriter { return d.ResponseWriter }
