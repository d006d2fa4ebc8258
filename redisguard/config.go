package redisguard

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
)

// A Config says where the store is and what the guard covers. All nodes that share
// tickets must have the same store, Prefix, Leeway and MaxSkew.
type Config struct {
	// URL of the store:
	//
	//	redis://user:password@host:6379/0        one server, or any node of a Redis Cluster
	//	rediss://host:6380                       with TLS
	//	redis://a:6379?addr=b:6379&addr=c:6379   more nodes of a Redis Cluster to begin with
	//	redis://a:26379?addr=b:26379&master_set=main
	//	                                         the primary that these Sentinels name
	//	unix:///run/redis.sock?db=0
	//
	// User and password are percent-encoded. What the user must be allowed is in
	// docs/many-nodes.md. Whether the store is a Cluster is found out.
	URL string

	// TLS is for what a URL cannot say: other roots, or a certificate for this
	// node. It needs rediss://. Each server must have a certificate for the host under which
	// the URL, a Sentinel or the Cluster names it, or for the host of the URL where they
	// name it by a bare address; with ServerName, for that.
	TLS *tls.Config

	// SentinelUser and SentinelPassword are for the Sentinels of the URL, which have
	// users of their own.
	SentinelUser, SentinelPassword string

	// Client is taken in place of the URL. It must have DisableRetry, since rueidis
	// otherwise may wait for longer than its context. The guard does not close it.
	Client rueidis.Client

	// Prefix begins the name of every key. "" means "wsticket:". Nobody else may
	// write there. It holds no braces: they choose the hash slot in a Cluster.
	Prefix string

	// MaxTTL is the longest exp - iat of any ticket, in whole seconds. 0 means
	// wsticket.DefaultMaxTTL. At most an hour.
	MaxTTL time.Duration

	// Leeway is the largest of any verifier on any node, in whole seconds. 0 means
	// wsticket.DefaultLeeway, wsticket.NoLeeway none. At most five minutes.
	Leeway time.Duration

	// MaxSkew is how far the clocks of a node and of the store may be apart, in whole
	// seconds. 0 means 2 s. At most a minute. Each claim is compared with it. That no
	// ticket passes twice rests on it where one store takes over from another.
	MaxSkew time.Duration

	// Timeout bounds every claim, connecting included. 0 means 500 ms. At least 10 ms
	// and at most MaxSkew. The deadline of a handshake may end the wait earlier.
	Timeout time.Duration

	// WaitReplicas is how many replicas must have a claim before it counts; where
	// fewer have it in time, the ticket is refused, and spent. With all replicas of a
	// primary it closes the gap of a partition, in which an old primary and a new one
	// take a ticket each; see docs/many-nodes.md. The price is their round trip. 0
	// means none.
	WaitReplicas int

	// MaxPending bounds the claims that wait to be sent; more are refused. 0 means
	// 16,384.
	MaxPending int

	// DangerouslyAcceptLocally decides while the store is away: a ticket is then
	// taken once by each node, which is as often as there are nodes, and once more by
	// another node when the store is back. It must not be used by anything else, and must
	// cover MaxTTL and Leeway. nil means that tickets are refused while the store is
	// away.
	DangerouslyAcceptLocally *wsticket.ReplayCache
}

const (
	defaultPrefix     = "wsticket:"
	defaultMaxSkew    = 2 * time.Second
	defaultTimeout    = 500 * time.Millisecond
	defaultMaxPending = 16384
)

// faults collects what is wrong with a configuration, so that all of it is reported
// at once.
type faults []error

func (f *faults) addf(format string, args ...any) {
	*f = append(*f, fmt.Errorf(format, args...))
}

func (f faults) err(what string) error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("redisguard: %s: %w", what, errors.Join(f...))
}

// seconds reads whole seconds between low and high, 0 standing for fallback.
func (f *faults) seconds(field string, d, fallback, low, high time.Duration) int64 {
	switch {
	case d == 0:
		d = fallback
	case d < low || d > high:
		f.addf("%s is %v; give %v to %v, or 0 for %v", field, d, low, high, fallback)
	case d%time.Second != 0:
		f.addf("%s is %v; give whole seconds", field, d)
	}
	return int64(d / time.Second)
}

func (f *faults) count(field string, n, fallback, high int) int {
	if n < 0 || n > high {
		f.addf("%s is %d; give 0 to %d", field, n, high)
	}
	if n == 0 {
		return fallback
	}
	return n
}

// guard makes a guard of the configuration, but for what needs the network.
func (c Config) guard() (*Guard, error) {
	var f faults
	g := &Guard{
		rules: rules{
			maxTTL:  f.seconds("MaxTTL", c.MaxTTL, wsticket.DefaultMaxTTL, time.Second, time.Hour),
			maxSkew: f.seconds("MaxSkew", c.MaxSkew, defaultMaxSkew, time.Second, time.Minute),
		},
		waitReplicas: f.count("WaitReplicas", c.WaitReplicas, 0, 100),
		local:        c.DangerouslyAcceptLocally,
	}
	if c.Leeway != wsticket.NoLeeway {
		g.rules.leeway = f.seconds("Leeway", c.Leeway, wsticket.DefaultLeeway, time.Second, 5*time.Minute)
	}
	g.timeout = f.timeout(c.Timeout, time.Duration(g.rules.maxSkew)*time.Second, "MaxSkew")
	g.counters.maxPending = int64(f.count("MaxPending", c.MaxPending, defaultMaxPending, 1<<20))
	if g.local != nil {
		if ttl, leeway := g.local.Covers(); ttl < time.Duration(g.rules.maxTTL)*time.Second || leeway < time.Duration(g.rules.leeway)*time.Second {
			f.addf("DangerouslyAcceptLocally covers a MaxTTL of %v and a Leeway of %v, less than MaxTTL and Leeway; make it with at least these", ttl, leeway)
		}
	}
	g.store = f.store(c.URL, c.TLS, c.SentinelUser, c.SentinelPassword, c.Client, c.Prefix)
	if err := f.err("Config"); err != nil {
		return nil, err
	}
	g.spent.init()
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	g.base = binary.LittleEndian.Uint64(random[:])
	return g, nil
}

func (f *faults) timeout(d, high time.Duration, name string) time.Duration {
	switch {
	case d == 0:
		d = min(defaultTimeout, high)
	case d < 10*time.Millisecond || d > high:
		f.addf("Timeout is %v; give %v to %v, which is %s, or 0 for %v", d, 10*time.Millisecond, high, name, defaultTimeout)
	}
	return d
}

// store makes one of the part of a configuration that says where it is.
func (f *faults) store(url string, tlsConfig *tls.Config, sentinelUser, sentinelPassword string, client rueidis.Client, prefix string) *store {
	s := &store{prefix: prefix, own: client == nil, given: client}
	if prefix == "" {
		s.prefix = defaultPrefix
	}
	if strings.ContainsAny(s.prefix, "{}") || strings.ContainsFunc(s.prefix, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		f.addf("Prefix is %q; give one without braces, spaces and control characters", prefix)
	}
	switch {
	case url == "" && client == nil:
		f.addf("there is neither URL nor Client; give a URL such as redis://localhost:6379")
	case url != "" && client != nil:
		f.addf("there are both URL and Client; give one")
	case client != nil && (tlsConfig != nil || sentinelUser != "" || sentinelPassword != ""):
		f.addf("TLS and the user of the Sentinels are given beside Client; the client has its own")
	case url != "":
		option, err := parseURL(url)
		if err != nil {
			f.addf("URL: %w", err)
			return s
		}
		if tlsConfig != nil {
			if option.TLSConfig == nil {
				f.addf("TLS is given and the URL begins with neither rediss:// nor valkeys://")
				return s
			}
			merged := tlsConfig.Clone()
			if merged.ServerName == "" {
				merged.ServerName = option.TLSConfig.ServerName
			}
			option.TLSConfig = merged
		}
		if option.TLSConfig != nil && (tlsConfig == nil || tlsConfig.ServerName == "") {
			option.DialCtxFn = dialTLS(option.TLSConfig.ServerName)
		}
		if option.Sentinel.MasterSet == "" && (sentinelUser != "" || sentinelPassword != "") {
			f.addf("a user of Sentinels is given and the URL has no master_set")
		}
		option.Sentinel.Username, option.Sentinel.Password = sentinelUser, sentinelPassword
		option.Sentinel.TLSConfig = option.TLSConfig
		s.option = option
	}
	return s
}
