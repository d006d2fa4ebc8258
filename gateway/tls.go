package gateway

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// A certificate is a pair of files that may change while the gateway runs. What is in
// force stays so until both files are whole and fit together.
type certificate struct {
	certFile, keyFile string
	inForce           atomic.Pointer[tls.Certificate]
	seen              [2]fileState
}

type fileState struct {
	modified time.Time
	size     int64
}

func (c *certificate) load() error {
	seen := c.look()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tls-cert and tls-key: %w", err)
	}
	c.inForce.Store(&pair)
	c.seen = seen
	return nil
}

// changed says whether a file is another one than was loaded, or was tried.
func (c *certificate) changed() bool {
	seen := c.look()
	if seen == c.seen {
		return false
	}
	c.seen = seen
	return true
}

func (c *certificate) look() (seen [2]fileState) {
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			seen[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return seen
}
