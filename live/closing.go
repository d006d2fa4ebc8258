package live

import "sync"

// closings calls the close functions of connections, each on a goroutine: one of
// them may wait for a client that does not read. There are at most maxClosing at a
// time; more wait, and whoever ends connections waits for none.
type closings struct {
	mu      sync.Mutex
	running int
	waiting []closing
	next    int // of those, the one whose turn it is
}

type closing struct {
	conn  *Conn
	cause Cause
}

const maxClosing = 1 << 14

func (q *closings) start(conns []*Conn, cause Cause) {
	if len(conns) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range conns {
		if q.running < maxClosing {
			q.running++
			go q.run(closing{c, cause})
		} else {
			q.waiting = append(q.waiting, closing{c, cause})
		}
	}
}

func (q *closings) run(c closing) {
	for ok := true; ok; c, ok = q.turn() {
		c.conn.close(c.cause)
	}
}

// turn returns the next that waits. Without one, a goroutine is done.
func (q *closings) turn() (c closing, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == len(q.waiting) {
		q.running--
		q.waiting, q.next = nil, 0
		return closing{}, false
	}
	c = q.waiting[q.next]
	q.waiting[q.next] = closing{}
	q.next++
	return c, true
}

// pending is how many close functions run or wait for it.
func (q *closings) pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running + len(q.waiting) - q.next
}
