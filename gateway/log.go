package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/wsticket/wsticket"
)

// A logger writes one line for each refusal and each fault, and under a flood a sample
// with the number of lines left out. It never writes a ticket, a cookie or a query.
type logger struct {
	*slog.Logger
	store   string        // where used tickets are remembered
	skipped atomic.Uint64 // lines, all in all
	mu      sync.Mutex
	samples map[sampleKey]*sample
}

// One flood does not hide another. There are as many keys as there are messages and
// codes.
type sampleKey struct{ message, code string }

type sample struct {
	limit   *rate.Limiter
	skipped uint64
	telling bool // a line with the number is due
	level   slog.Level
}

const (
	linesPerSecond = 10
	linesAtOnce    = 50
	// tellAfter is how long a number of lines left out may wait for a line to stand
	// in.
	tellAfter = 5 * time.Second
)

func newLogger(w io.Writer, format, levelName string) (*logger, error) {
	least, err := level(levelName)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: wsticket.SlogReplace}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	return &logger{Logger: slog.New(handler), samples: map[sampleKey]*sample{}}, nil
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
	l.sampledBy(sampleKey{message, ""}, level, attrs...)
}

func (l *logger) sampledBy(key sampleKey, level slog.Level, attrs ...slog.Attr) {
	if !l.Enabled(context.Background(), level) {
		return
	}
	l.mu.Lock()
	s := l.samples[key]
	if s == nil {
		s = &sample{limit: rate.NewLimiter(linesPerSecond, linesAtOnce), level: level}
		l.samples[key] = s
	}
	if !s.limit.Allow() {
		s.skipped++
		l.skipped.Add(1)
		if !s.telling {
			s.telling = true
			time.AfterFunc(tellAfter, func() { l.tell(key, s) })
		}
		l.mu.Unlock()
		return
	}
	skipped := s.skipped
	s.skipped = 0
	l.mu.Unlock()
	if skipped > 0 {
		attrs = append(attrs, slog.Uint64("skipped", skipped))
	}
	l.LogAttrs(context.Background(), level, key.message, attrs...)
}

// tell writes how many lines were left out, where no line has come to say so.
func (l *logger) tell(key sampleKey, s *sample) {
	l.mu.Lock()
	skipped := s.skipped
	s.skipped, s.telling = 0, false
	l.mu.Unlock()
	if skipped == 0 {
		return
	}
	attrs := []slog.Attr{slog.String("of", key.message), slog.Uint64("skipped", skipped)}
	if key.code != "" {
		attrs = append(attrs, slog.String("code", key.code))
	}
	l.LogAttrs(context.Background(), s.level, "lines left out", attrs...)
}

// tellAll does so for all, at the end.
func (l *logger) tellAll() {
	l.mu.Lock()
	samples := maps.Clone(l.samples)
	l.mu.Unlock()
	for key, s := range samples {
		l.tell(key, s)
	}
}

// refused is the line of one refusal of the library. The path is the client's; its
// query, where the ticket may stand, is not written.
func (l *logger) refused(r *http.Request, refusal wsticket.Refusal) {
	attrs := []slog.Attr{slog.String("path", cut(r.URL.Path)), slog.Any("refusal", refusal)}
	// What a ticket is bound to is the minter's choice.
	if name := settingOf[refusal.Code]; name != "" && !strings.Contains(wsticket.ReasonOf(refusal.Err), "bound to") {
		attrs = append(attrs, slog.String("setting", name))
	}
	if refusal.Code == wsticket.ErrReplayUnavailable {
		// Whatever the store says is no ticket, and no password: the guards see to that.
		attrs = append(attrs, slog.String("store", l.store), slog.String("cause", cut(refusal.Err.Error())))
	}
	l.sampledBy(sampleKey{"refused", refusal.Code.Code()}, slog.LevelWarn, attrs...)
}

// settingOf names what of the configuration a refusal was held against. The library
// calls it by the names of its API.
var settingOf = map[wsticket.Error]string{
	wsticket.ErrOrigin: "origin", wsticket.ErrAudience: "aud", wsticket.ErrIssuer: "iss", wsticket.ErrTTLTooLong: "max-ttl",
	wsticket.ErrUnknownKey: "keys", wsticket.ErrBadSignature: "keys", wsticket.ErrReplayUnavailable: "single-use",
}

func (l *logger) mintRefused(_ *http.Request, refusal wsticket.MintRefusal) {
	attrs := []slog.Attr{slog.Any("refusal", refusal)}
	switch {
	case errors.Is(refusal.Err, wsticket.ErrUnauthenticated), errors.Is(refusal.Err, wsticket.ErrForbidden) && refusal.Subject == "":
		attrs = append(attrs, slog.String("setting", "mint-auth"), slog.Int("answered", refusal.Status))
	case refusal.Status == http.StatusForbidden:
		attrs = append(attrs, slog.String("setting", "origin"))
	case refusal.Status == http.StatusTooManyRequests:
		attrs = append(attrs, slog.String("setting", "mint-rate"))
	}
	l.sampledBy(sampleKey{"no ticket", strconv.Itoa(refusal.Status)}, slog.LevelInfo, attrs...)
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

func (l *logger) traces(err error) {
	l.sampled(slog.LevelWarn, "traces not sent", slog.String("why", cut(err.Error())))
}

// cut bounds what a stranger can write into a line. What looks like a ticket is taken
// out before: a piece of one does not look like it any more.
func cut(text string) string {
	text = wsticket.SlogReplace(nil, slog.String("", text)).Value.String()
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
