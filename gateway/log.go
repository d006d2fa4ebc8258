package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/wsticket/wsticket"
)

// A logger writes one line for each refusal and each fault, and under a flood a sample
// with the number of lines left out. It never writes a ticket, a cookie or a query.
type logger struct {
	*slog.Logger
	mu      sync.Mutex
	samples map[string]*sample // by message: one flood does not hide another
}

type sample struct {
	limit   *rate.Limiter
	skipped uint64
}

const (
	linesPerSecond = 10
	linesAtOnce    = 50
)

func newLogger(w io.Writer, format, levelName string) (*logger, error) {
	least, err := level(levelName)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: least}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	return &logger{Logger: slog.New(handler), samples: map[string]*sample{}}, nil
}

func level(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is none; give debug, info, warn or error", name)
}

// sampled writes a line, or counts it for the next that is written.
func (l *logger) sampled(level slog.Level, message string, attrs ...slog.Attr) {
	l.mu.Lock()
	s := l.samples[message]
	if s == nil {
		s = &sample{limit: rate.NewLimiter(linesPerSecond, linesAtOnce)}
		l.samples[message] = s
	}
	if !s.limit.Allow() {
		s.skipped++
		l.mu.Unlock()
		return
	}
	skipped := s.skipped
	s.skipped = 0
	l.mu.Unlock()
	if skipped > 0 {
		attrs = append(attrs, slog.Uint64("skipped", skipped))
	}
	l.LogAttrs(context.Background(), level, message, attrs...)
}

// refused is the line of one refusal of the library. The path is the client's; its
// query, where the ticket may stand, is not written.
func (l *logger) refused(r *http.Request, refusal wsticket.Refusal) {
	l.sampled(slog.LevelWarn, "refused", slog.String("path", cut(r.URL.Path)), slog.Any("refusal", refusal))
}

func (l *logger) mintRefused(_ *http.Request, refusal wsticket.MintRefusal) {
	l.sampled(slog.LevelInfo, "no ticket", slog.Any("refusal", refusal))
}

func (l *logger) upstream(r *http.Request, err error) {
	l.sampled(slog.LevelError, "upstream failed", slog.String("why", err.Error()), slog.String("path", cut(r.URL.Path)))
}

func (l *logger) mint(r *http.Request, err error) {
	l.sampled(slog.LevelError, "mint failed", slog.String("why", err.Error()), slog.String("remote", r.RemoteAddr))
}

func (l *logger) badSubrequest(r *http.Request, err error) {
	l.sampled(slog.LevelWarn, "subrequest refused", slog.String("why", err.Error()), slog.String("remote", r.RemoteAddr))
}

// cut bounds what a stranger can write into a line.
func cut(text string) string {
	if len(text) > 128 {
		return text[:128] + "…"
	}
	return text
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// serverLog takes what net/http has to say of single connections.
type serverLog struct{ *logger }

func (l serverLog) Write(line []byte) (int, error) {
	l.sampled(slog.LevelDebug, "connection", slog.String("why", cut(string(line))), slog.Time("at", time.Now()))
	return len(line), nil
}
