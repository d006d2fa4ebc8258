package integrations

import (
	"sync"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/wsticket/wsticket/live"
)

// A fasthttpEnd ends a connection of fasthttp, whose memory belongs to another client
// once its handler has returned.
type fasthttpEnd struct {
	conn *websocket.Conn
	mu   sync.Mutex
	over bool // the handler returns
}

func (e *fasthttpEnd) returns() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
}

func (e *fasthttpEnd) tell(cause live.Cause) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	last := time.Now().Add(time.Second)
	e.conn.NetConn().SetDeadline(last) // for a client that stays: Close does nothing here
	e.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(cause.CloseCode()), cause.Reason()), last)
}
