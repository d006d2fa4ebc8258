package etcdguard

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

// A Config says where the cluster is and what the guard covers. All nodes that share
// tickets must have the same cluster and the same Prefix.
type Config struct {
	// URL names the members: "etcd://a:2379,b:2379,c:2379", or "etcds://…" with TLS.
	// It may hold a user and a password before the members, percent-encoded, and the
	// prefix as a path: "etcd://user:password@a:2379/wsticket/".
	URL string

	// Client is for what a URL cannot say, such as certificates. Its Endpoints, where
	// there are some, take the place of the URL's members. The guard makes a client of
	// its own for each endpoint.
	Client clientv3.Config

	// Prefix begins every key. "" means "wsticket/". The user needs to read and write
	// all of it. Nobody else writes there.
	Prefix string

	// MaxTTL is the longest exp - iat of any ticket, in whole seconds. 0 means
	// wsticket.DefaultMaxTTL. At most an hour.
	MaxTTL time.Duration

	// Leeway is the largest of any verifier on any node, in whole seconds. 0 means
	// wsticket.DefaultLeeway, wsticket.NoLeeway none. At most five minutes.
	Leeway time.Duration

	// MaxSkew is how far the clock of any node may be from the true time, in whole
	// seconds. 0 means 2 s. At most five minutes. That a ticket is taken once does not
	// rest on it, but where a backup of the store was restored.
	MaxSkew time.Duration

	// Timeout bounds every claim, connecting included. 0 means 2 s, within which a
	// new leader is mostly found. At least 100 ms and at most a minute. A member that
	// does not answer is given a quarter of it, then the next is asked.
	Timeout time.Duration

	// MaxPending bounds the tickets that wait for the store; more are refused. 0 means
	// 16,384.
	MaxPending int
}

const (
	defaultPrefix     = "wsticket/"
	defaultMaxSkew    = 2 * time.Second
	defaultTimeout    = 2 * time.Second
	defaultMaxPending = 16384
)

// guard makes a guard of the configuration, but for what needs the network.
func (c Config) guard() (*Guard, clientv3.Config, error) {
	var faults []error
	addf := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	seconds := func(field string, d, fallback, low, high time.Duration) int64 {
		switch {
		case d == 0:
			d = fallback
		case d < low || d > high:
			addf("%s is %v; give %v to %v, or 0 for %v", field, d, low, high, fallback)
		case d%time.Second != 0:
			addf("%s is %v; give whole seconds", field, d)
		}
		return int64(d / time.Second)
	}
	g := &Guard{
		maxTTL:     seconds("MaxTTL", c.MaxTTL, wsticket.DefaultMaxTTL, time.Second, time.Hour),
		maxSkew:    seconds("MaxSkew", c.MaxSkew, defaultMaxSkew, time.Second, 5*time.Minute),
		timeout:    c.Timeout,
		maxPending: c.MaxPending,
		pending:    map[ticketKey]*claim{},
		slots:      map[int64]*slot{},
		wake:       make(chan struct{}, 1),
	}
	if c.Leeway != wsticket.NoLeeway {
		g.leeway = seconds("Leeway", c.Leeway, wsticket.DefaultLeeway, time.Second, 5*time.Minute)
	}
	switch {
	case g.timeout == 0:
		g.timeout = defaultTimeout
	case g.timeout < 100*time.Millisecond || g.timeout > time.Minute:
		addf("Timeout is %v; give %v to %v, or 0 for %v", g.timeout, 100*time.Millisecond, time.Minute, defaultTimeout)
	}
	switch {
	case g.maxPending == 0:
		g.maxPending = defaultMaxPending
	case g.maxPending < 0:
		addf("MaxPending is %d; give a positive number, or 0 for %d", g.maxPending, defaultMaxPending)
	}
	client := c.Client
	prefix := c.Prefix
	if c.URL != "" {
		u, err := parseURL(c.URL)
		if err != nil {
			addf("URL: %w", err)
		} else {
			if len(client.Endpoints) == 0 {
				client.Endpoints = u.endpoints
			}
			if u.user != "" {
				if client.Username != "" {
					addf("both URL and Client have a user; give one")
				}
				client.Username, client.Password = u.user, u.password
			}
			if u.prefix != "" {
				if prefix != "" {
					addf("both URL and Prefix have a prefix; give one")
				}
				prefix = u.prefix
			}
		}
	}
	if len(client.Endpoints) == 0 && len(faults) == 0 {
		addf("there is no member; give a URL such as etcd://a:2379,b:2379,c:2379, or Client.Endpoints")
	}
	client.Endpoints = slices.Clone(client.Endpoints)
	if prefix == "" {
		prefix = defaultPrefix
	}
	if strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		addf("Prefix is %q; give one without spaces and control characters", prefix)
	}
	if len(faults) > 0 {
		return nil, client, fmt.Errorf("etcdguard: Config: %w", errors.Join(faults...))
	}
	g.keys = keys{prefix: prefix, state: prefix + "state"}
	g.seen.init()
	return g, client, nil
}

// A location is what a URL says.
type location struct {
	endpoints      []string
	user, password string
	prefix         string
}

// parseURL reads etcd://[user:password@]host:port[,host:port…][/prefix]. Its errors do
// not show the URL, which may hold a password.
func parseURL(text string) (l location, err error) {
	scheme := "http://"
	rest, ok := strings.CutPrefix(text, "etcd://")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "etcds://"); !ok {
			return l, errors.New("it begins with neither etcd:// nor etcds://")
		}
		scheme = "https://"
	}
	if strings.ContainsAny(rest, "?# ") {
		return l, errors.New("it has a query, a fragment or a space; it can have none")
	}
	rest, prefix, _ := strings.Cut(rest, "/")
	if l.prefix, err = url.PathUnescape(prefix); err != nil {
		return l, errors.New("its path is not percent-encoded as it should be")
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		var err1, err2 error
		l.user, err1 = url.PathUnescape(user)
		l.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || l.user == "" || l.password == "" {
			return l, errors.New("before the @ there is no user and password, percent-encoded")
		}
		rest = rest[at+1:]
	}
	for _, address := range strings.Split(rest, ",") {
		host, port, err := net.SplitHostPort(address)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return l, errors.New("a member is not of the form host:port")
		}
		l.endpoints = append(l.endpoints, scheme+address)
	}
	return l, nil
}

// keys are the names of what the guards keep in the store.
type keys struct {
	prefix string
	state  string
}

// marker is the key that says which lease a slot has.
func (k *keys) marker(second int64) string { return k.prefix + "slots/" + fixed(second) }

// second is the slot that a marker is for.
func (k *keys) second(marker string) (int64, error) {
	text, ok := strings.CutPrefix(marker, k.prefix+"slots/")
	n, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || len(text) != fixedLen {
		return 0, errBadMarker
	}
	return int64(n), nil
}

// ticket is the key of one ticket.
func (k *keys) ticket(t ticketKey) string {
	return k.prefix + "used/" + fixed(t.slot) + "/" + hex.EncodeToString(t.identity[:])
}
