package wsticket

import (
	"net"
	"net/http"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/wsframe"
)

// maxCloseFrame is the length of the longest close frame of a refusal.
const maxCloseFrame = 4 + len(ClassInvalidTicket)

// appendClose appends the close frame of a refusal: the close code, and the class for
// the page to read.
func appendClose(dst []byte, code Error) []byte {
	return wsframe.AppendClose(dst, code.CloseCode(), string(code.Class()))
}

// closed tells a page of a refusal by a 101 and a close frame, and says whether it
// did. It judges the request once more, for Refuse may be called with any.
func (g *Gate) closed(w http.ResponseWriter, r *http.Request, err error, code Error) bool {
	if !asksForWebSocket(r) || g.handshake(r) != nil {
		return false
	}
	f := g.policy.finder()
	readParts(r).find(&f)
	var origin []byte
	if o := r.Header["Origin"]; len(o) > 0 {
		origin = append([]byte{}, o[0]...)
	}
	if page, _ := g.policy.admit(&f, origin, []byte(r.Host)); !page {
		return false
	}
	conn, early, fault := http.NewResponseController(w).Hijack()
	if fault != nil {
		return false
	}
	defer conn.Close()
	text := answer.Of(statusOf(err, code)).Bytes() // no browser sends before it is answered
	if early.Reader.Buffered() == 0 {
		switching, ok := g.selected[f.Selected]
		if !ok {
			switching = g.plain
		}
		text = appendClose(switching.Append(nil, []byte(r.Header.Get("Sec-Websocket-Key"))), code)
	}
	conn.SetDeadline(time.Now().Add(g.config.Timeout))
	_, fault = conn.Write(text)
	seeOffPage(conn, make([]byte, 512), fault, true)
	return true
}

// seeOffPage reads until the page has answered the close frame, and only then closes
// the connection for writing: a browser that finds the end of the connection behind the
// 101 calls the close unclean, or shows no open. The deadline is that of conn. It
// returns how many bytes of buf it has used.
func seeOffPage(conn net.Conn, buf []byte, failed error, drain bool) (used int) {
	if failed != nil {
		closeTLS(conn)
		return 0
	}
	var sent wsframe.Follower
	for total := 0; drain && total < drainLimit && !sent.Closed(); {
		n, err := conn.Read(buf)
		used = max(used, n)
		if err != nil || n == 0 {
			break
		}
		sent.Pass(buf[:n])
		total += n
	}
	closeWrite(conn)
	return used
}
