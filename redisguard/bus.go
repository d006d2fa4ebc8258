package redisguard

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket/live"
)

// A BusConfig says where the store is and how long it keeps endings. All nodes must
// have the same store and the same Prefix. The fields of the first part are those of
// [Config].
type BusConfig struct {
	URL                            string
	TLS                            *tls.Config
	SentinelUser, SentinelPassword string
	Client                         rueidis.Client
	Prefix                         string
	MaxSkew                        time.Duration
	WaitReplicas                   int

	// Timeout bounds each try to reach the store. 0 means 500 ms. At least 10 ms and
	// at most a minute.
	Timeout time.Duration

	// Keep is about how many endings the store keeps, for nodes that were away. 0
	// means 65,536, which take some 10 MB.
	Keep int
}

// A Bus is a [live.Bus] on a stream of Redis or Valkey. A node that was away reads on
// where it was, so it misses nothing; and where it may have missed something, because
// the store lost its end of the stream or keeps too little of it, it says so. It is
// safe for concurrent use and must be closed.
//
// Session ids and subjects are in the store as they are.
type Bus struct {
	store        *store
	client       rueidis.Client
	rules        rules
	timeout      time.Duration
	waitReplicas int
	keep         int
	epoch        string       // the key of the epoch
	stream       string       // the key of the endings
	since        atomic.Int64 // the latest epoch that was seen, ms

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	counters busCounters
}

var _ live.Bus = (*Bus)(nil)

// NewBus checks the configuration, reports all its faults at once, and connects. It fails
// at once where there is nobody to connect to, and where the store does not answer until
// ctx ends, or for 5 s.
func NewBus(ctx context.Context, c BusConfig) (*Bus, error) {
	var f faults
	b := &Bus{
		rules:        rules{maxSkew: f.seconds("MaxSkew", c.MaxSkew, defaultMaxSkew, time.Second, time.Minute)},
		timeout:      f.timeout(c.Timeout, time.Minute, "a minute"),
		waitReplicas: f.count("WaitReplicas", c.WaitReplicas, 0, 100),
		keep:         f.count("Keep", c.Keep, 1<<16, 1<<24),
		store:        f.store(c.URL, c.TLS, c.SentinelUser, c.SentinelPassword, c.Client, c.Prefix),
	}
	if err := f.err("BusConfig"); err != nil {
		return nil, err
	}
	b.epoch, b.stream = b.store.prefix+"{endings}epoch", b.store.prefix+"{endings}stream"
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	client, err := b.store.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("redisguard: %w", err)
	}
	b.client = client
	b.ctx, b.cancel = context.WithCancel(context.Background())
	before := time.Now()
	look, err := takeLook(ctx, client, b.epoch, b.rules, 0)
	if err == nil {
		err = look.fault(client.Mode(), time.Duration(b.rules.maxSkew)*time.Second, before, time.Now())
	}
	if err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("redisguard: %w", err)
	}
	return b, nil
}

// Close ends every Follow, and closes connections that the Bus made.
func (b *Bus) Close() error {
	b.cancel()
	if b.store.own {
		b.client.Close()
	}
	return nil
}

// Publish adds e to the stream. After an error it may or may not be there. It tries again
// until ctx ends, for three times Timeout at most.
func (b *Bus) Publish(ctx context.Context, e live.Ending) error {
	if err := e.Check(); err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*b.timeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err = b.add(ctx, string(text))
		if err == nil {
			b.counters.published.Add(1)
			return nil
		}
		if !isAway(err) || !sleep(ctx, pause) {
			b.counters.failed.Add(1)
			return fmt.Errorf("redisguard: the ending is not published: %w", err)
		}
	}
}

func (b *Bus) add(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	call := b.client.B().Xadd().Key(b.stream).Maxlen().Almost().Threshold(strconv.Itoa(b.keep)).Id("*").
		FieldValue().FieldValue("e", text).Build()
	_, replicas, err := do(ctx, b.client, b.waitReplicas, call)
	if err == nil && replicas < b.waitReplicas {
		return storeSaid(fmt.Sprintf("%d replicas have it in time, WaitReplicas is %d", replicas, b.waitReplicas))
	}
	return err
}

// Follow tells f of the endings of the last back, and then of each as it comes, until
// ctx ends or the Bus is closed. It gives up at once where the store refuses its user.
func (b *Bus) Follow(ctx context.Context, back time.Duration, f live.Follower) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	p := reader{bus: b, back: back, f: f}
	for pause := firstPause; ; {
		err := p.step(ctx)
		switch {
		case b.ctx.Err() != nil:
			return errBusClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			pause = firstPause
			continue
		case refusesUs(err):
			return fmt.Errorf("redisguard: %w", err)
		}
		b.counters.troubles.Add(1)
		if !sleep(ctx, pause) {
			continue
		}
		pause = min(2*pause, time.Second)
	}
}

var errBusClosed = errors.New("redisguard: the bus is closed")

// refusesUs says whether the store refuses the user, which no waiting mends.
func refusesUs(err error) bool {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return false
	}
	kind, _, _ := strings.Cut(e.Error(), " ")
	return kind == "WRONGPASS" || kind == "NOAUTH" || kind == "NOPERM" || kind == "WRONGTYPE"
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// A reader is one Follow under way.
type reader struct {
	bus  *Bus
	back time.Duration
	f    live.Follower

	begun bool
	since int64    // the epoch in which it reads
	told  streamID // everything up to here was told
	count int64    // how many entries there ever were up to there, or -1: not known

	// A question that was asked at asOf and answered with last: once all up to last
	// is told, all before asOf is.
	asOf time.Time
	last streamID
}

const (
	// waitFor is how long the store holds a question that it has no answer to. It
	// bounds how far CaughtUp is behind.
	waitFor = 250 * time.Millisecond
	// readAtOnce bounds an answer.
	readAtOnce = 256
)

// step looks at the stream, and reads what there is to read or waits for more.
func (r *reader) step(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	return r.read(ctx)
}

func (r *reader) look(ctx context.Context) error {
	asked := time.Now()
	s, err := r.bus.lookWithin(ctx)
	if err != nil {
		return err
	}
	r.see(s)
	if r.asOf.IsZero() {
		r.asOf, r.last = asked, s.last
	}
	r.caughtUp()
	return nil
}

// see compares what the stream is with what it was.
func (r *reader) see(s streamState) {
	first := !r.begun
	dropped := s.added - s.length
	// behind: all that is there comes behind what was told.
	behind := func() bool { return r.told.less(s.first) || s.length == 0 && r.told.less(s.last) }
	// What was told is among what was dropped then. If fewer were dropped than were told,
	// it is another stream, which has grown past the end of the first.
	if first || s.since != r.since || s.last.less(r.told) || s.added < r.count || behind() && dropped < r.count {
		// The first look, or another stream than the one that was read so far.
		from := s.now - r.back.Milliseconds()
		if start := (streamID{ms: uint64(max(from, 0))}); first || start.less(r.told) {
			r.told = start
		}
		if s.last.less(r.told) {
			r.told = s.last
		}
		r.begun, r.since, r.count, r.asOf = true, s.since, -1, time.Time{}
		switch {
		case !first:
			r.miss(errStoreChanged)
			first = true
		case s.since == 0 || s.since > from:
			r.miss(fmt.Errorf("the store keeps endings since %v, which is less than was asked for", time.UnixMilli(s.since).UTC().Format(time.RFC3339)))
		case behind() && dropped > 0:
			r.miss(errTrimmed)
		}
	}
	switch {
	case r.told == s.last:
		r.count = s.added
	case behind():
		switch {
		case first || dropped <= r.count:
		case r.count < 0:
			r.miss(errTrimmed)
		default:
			r.miss(fmt.Errorf("%w: %d of them", errTrimmed, dropped-r.count))
		}
		r.count = dropped
		if s.length == 0 {
			r.told = s.last
		}
	}
}

var (
	errStoreChanged = errors.New("the store may have lost endings: it restarted, another took over, or it was emptied")
	errTrimmed      = errors.New("endings were dropped before they were read; raise Keep")
)

func (r *reader) miss(why error) {
	r.bus.counters.missed.Add(1)
	r.f.Missed(why)
}

// caughtUp says so when the last question has its answer. It is called behind a look only:
// what was read since the last one may have come from a store that took over.
func (r *reader) caughtUp() {
	if !r.asOf.IsZero() && !r.told.less(r.last) {
		r.f.CaughtUp(r.asOf)
		r.asOf = time.Time{}
	}
}

// read tells what there is behind the last that was told, or waits for it.
func (r *reader) read(ctx context.Context) error {
	b := r.bus
	ctx, cancel := context.WithTimeout(ctx, waitFor+b.timeout)
	defer cancel()
	entries, err := b.client.Do(ctx, b.client.B().Xread().Count(readAtOnce).Block(waitFor.Milliseconds()).
		Streams().Key(b.stream).Id(r.told.String()).Build()).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil
	}
	if err != nil {
		return discreet(err)
	}
	for _, entry := range entries[b.stream] {
		id, err := parseStreamID(entry.ID)
		if err != nil {
			return err
		}
		e, err := parseEnding(entry.FieldValues["e"])
		if err != nil {
			r.miss(fmt.Errorf("an ending that this version cannot read: %w", err))
		} else {
			b.counters.told.Add(1)
			r.f.Ended(e)
		}
		r.told = id
		if r.count >= 0 {
			r.count++
		}
	}
	return nil
}

// parseEnding reads what Publish wrote. Its errors do not show it.
func parseEnding(text string) (e live.Ending, err error) {
	if json.Unmarshal([]byte(text), &e) != nil {
		return live.Ending{}, errors.New("it is no JSON of an ending")
	}
	return e, e.Check()
}

// A streamState is what endings.lua says.
type streamState struct {
	since, now    int64 // ms
	last, first   streamID
	length, added int64
}

func (b *Bus) lookWithin(ctx context.Context) (streamState, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	return b.look(ctx)
}

func (b *Bus) look(ctx context.Context) (streamState, error) {
	args := append(b.rules.args(b.since.Load()), decimal(time.Now().Unix()))
	text, _, err := endingsScript.run(ctx, b.client, 0, []string{b.epoch, b.stream}, args)
	if err != nil {
		return streamState{}, err
	}
	s, err := parseStreamState(text)
	if err == nil {
		raise(&b.since, s.since)
	}
	return s, err
}

func parseStreamState(text string) (s streamState, err error) {
	parts := strings.Split(text, " ")
	if len(parts) != 6 {
		return s, errBadAnswer
	}
	var errs [6]error
	s.since, errs[0] = milli(parts[0])
	s.now, errs[1] = milli(parts[1])
	s.last, errs[2] = parseStreamID(parts[2])
	s.first, errs[3] = parseStreamID(parts[3])
	s.length, errs[4] = milli(parts[4])
	s.added, errs[5] = milli(parts[5])
	if errors.Join(errs[:]...) != nil {
		return streamState{}, errBadAnswer
	}
	return s, nil
}

// A streamID is where an entry stands.
type streamID struct{ ms, seq uint64 }

func (id streamID) less(other streamID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

func (id streamID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func parseStreamID(text string) (id streamID, err error) {
	ms, seq, ok := strings.Cut(text, "-")
	if !ok {
		return id, errBadAnswer
	}
	if id.ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return id, errBadAnswer
	}
	if id.seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return streamID{}, errBadAnswer
	}
	return id, nil
}

// BusStats are counts since the Bus was made.
type BusStats struct {
	Published uint64 // endings that Publish put into the store
	Failed    uint64 // that it did not
	Told      uint64 // endings that followers were told, once for each
	Missed    uint64 // times that a follower may have missed some
	Troubles  uint64 // questions of followers that failed and were asked again
}

type busCounters struct {
	published, failed, told, missed, troubles atomic.Uint64
}

// Stats takes a snapshot.
func (b *Bus) Stats() BusStats {
	c := &b.counters
	return BusStats{c.published.Load(), c.failed.Load(), c.told.Load(), c.missed.Load(), c.troubles.Load()}
}
