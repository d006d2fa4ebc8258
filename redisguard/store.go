package redisguard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// A store is how to get at one.
type store struct {
	prefix string
	option rueidis.ClientOption
	given  rueidis.Client // in place of option
	own    bool           // the client is ours to close
}

const (
	// connectTimeout bounds New.
	connectTimeout = 5 * time.Second
	// A connection that shows no life is asked after quietFor, and closed when it
	// does not answer within deadAfter.
	quietFor  = time.Second
	deadAfter = 2 * time.Second
)

// parseURL reads the URL of a store. Its errors do not show the URL, which may hold a
// password.
func parseURL(text string) (option rueidis.ClientOption, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return option, errors.New("it is none; are user and password percent-encoded?")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys", "unix":
	default:
		return option, errors.New("it begins with none of redis://, rediss://, valkey://, valkeys:// and unix://")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return option, errors.New("its query is not percent-encoded as it should be")
	}
	for name := range query {
		switch name {
		case "addr", "db", "master_set", "client_name":
		case "skip_verify":
			return option, errors.New("skip_verify would take any server for the store; give its root certificate in TLS")
		default:
			return option, fmt.Errorf("its parameter %.40q is unknown; give addr, db, master_set or client_name", name)
		}
	}
	if u.Fragment != "" {
		return option, errors.New("it has a fragment; is a # in the password not percent-encoded?")
	}
	if option, err = rueidis.ParseURL(text); err != nil {
		return option, errors.New("its path or db is no number of a database")
	}
	// Several addresses are nodes of a Cluster or Sentinels.
	option.DisableRetry = true // it may wait for longer than the context (rueidis#683)
	option.DisableCache = true
	option.ClientSetInfo = rueidis.DisableClientSetInfo
	option.Dialer.Timeout = connectTimeout
	option.Dialer.KeepAlive = quietFor
	option.ConnWriteTimeout = deadAfter
	option.ReadBufferEachConn, option.WriteBufferEachConn = 1<<16, 1<<16
	option.BlockingPoolSize = 4 * maxFlights
	option.Sentinel.Dialer = option.Dialer
	// Without these, a primary that was replaced without closing a connection stays
	// the primary of this client.
	option.Sentinel.TopologyRefreshInterval = time.Second
	option.ClusterOption.ShardsRefreshInterval = time.Second
	option.ClusterOption.MaxMovedRedirections = 3
	return option, nil
}

// connect returns the client. It keeps to ctx, which rueidis.NewClient does not.
func (s *store) connect(ctx context.Context) (rueidis.Client, error) {
	if s.given != nil {
		return s.given, nil
	}
	type made struct {
		client rueidis.Client
		err    error
	}
	done := make(chan made, 1)
	go func() {
		client, err := rueidis.NewClient(s.option)
		done <- made{client, err}
	}()
	select {
	case m := <-done:
		if m.err != nil {
			return nil, fmt.Errorf("no connection to the store: %w", discreet(m.err))
		}
		return m.client, nil
	case <-ctx.Done():
		go func() {
			if m := <-done; m.err == nil {
				m.client.Close()
			}
		}()
		return nil, fmt.Errorf("no connection to the store: %w", ctx.Err())
	}
}

// A look is what look.lua says of the store.
type look struct {
	since, now int64 // ms
	evicted    uint64
	version    string
	cluster    bool
	policy     string
}

func takeLook(ctx context.Context, client rueidis.Client, epoch string, r rules, since int64) (look, error) {
	args := append(r.args(since), decimal(time.Now().Unix()))
	text, _, err := lookScript.run(ctx, client, 0, []string{epoch}, args)
	if err != nil {
		return look{}, err
	}
	return parseLook(text)
}

func parseLook(text string) (l look, err error) {
	parts := strings.Split(text, " ")
	if len(parts) != 6 {
		return l, errBadAnswer
	}
	var evicted int64
	for i, n := range []*int64{&l.since, &l.now, &evicted} {
		if *n, err = milli(parts[i]); err != nil {
			return l, errBadAnswer
		}
	}
	l.evicted, l.version, l.cluster, l.policy = uint64(evicted), parts[3], parts[4] == "1", parts[5]
	return l, nil
}

// misfit says why the store is none to make claims at with this client, or nil.
func (l *look) misfit(mode rueidis.ClientMode) error {
	var major int
	if _, err := fmt.Sscanf(l.version, "%d.", &major); err != nil || major < 7 {
		return fmt.Errorf("%w: it is version %q; it must be Redis 7 or later, or Valkey", errMisfit, l.version)
	}
	if l.cluster != (mode == rueidis.ClientModeCluster) {
		return fmt.Errorf("%w: it is a node of a Cluster, and the client does not use it as one; may its user call CLUSTER SLOTS?", errMisfit)
	}
	return nil
}

// fault says why the store does not fit, or nil. Its clock was read at a node's time
// between before and after.
func (l *look) fault(mode rueidis.ClientMode, maxSkew time.Duration, before, after time.Time) error {
	if err := l.misfit(mode); err != nil {
		return err
	}
	if l.policy != "noeviction" {
		return fmt.Errorf("%w: its maxmemory-policy is %q, under which it may forget used tickets; set noeviction", errMisfit, l.policy)
	}
	if ahead := time.UnixMilli(l.now).Sub(after); ahead > maxSkew {
		return fmt.Errorf("%w: its clock is %v ahead of this node's, MaxSkew is %v; keep both in time", errMisfit, ahead.Round(time.Millisecond), maxSkew)
	} else if behind := before.Sub(time.UnixMilli(l.now)); behind > maxSkew {
		return fmt.Errorf("%w: its clock is %v behind this node's, MaxSkew is %v; keep both in time", errMisfit, behind.Round(time.Millisecond), maxSkew)
	}
	return nil
}

// dialTLS connects to a server and checks its certificate for serverName.
func dialTLS(host string) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		config = config.Clone()
		config.ServerName = serverName(host, address)
		return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
	}
}

// serverName is the host that the certificate of a server must be for: the one under which
// the server was found. Where that is a bare address and the URL has a name, it is the name:
// nodes of a Cluster announce addresses and have a certificate for all of them.
func serverName(host, address string) string {
	found, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(found) != nil && net.ParseIP(host) == nil {
		return host
	}
	return found
}
