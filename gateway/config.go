package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
)

// Config is what a gateway does. [Load] reads one from flags, environment and file,
// under the names that stand in the table of options; its doc is theirs.
type Config struct {
	Listen   string
	Keys     string
	Upstream string

	Origins, Audiences, Issuers []string
	Carriers, Protocols         []string

	SingleUse      string
	Peak           int
	MaxTTL, Leeway time.Duration
	State          string

	MintPath, MintAuth string
	MintTTL            time.Duration
	MintRate           int
	VerifyPath         string
	TrustedProxies     []string

	TLSCert, TLSKey string

	MaxConnections, MaxPerSubject int
	Timeout, Drain                time.Duration

	Admin, AdminTokenFile string

	LogFormat, LogLevel string

	OTLP string

	since time.Time // of the local memory; tests set it back
}

// An option is one setting: a flag, a key of the file and a variable of the
// environment of the same name.
type option struct {
	name   string
	about  string
	secret bool // may hold a password, which is not shown
	fixed  bool // a reload cannot change it
	value  func(*Config) setting
}

// A setting reads and shows the value of an option.
type setting interface {
	set(values []string) error
	show() string
	list() bool
}

// options are all that there is, in the order of the help.
var options = []option{
	{"listen", "take connections on `ADDRESS`", false, true, func(c *Config) setting { return text{&c.Listen} }},
	{"keys", "read the keyring from `FILE`, again whenever it changes", false, false, func(c *Config) setting { return text{&c.Keys} }},
	{"upstream", "hand connections on to `URL`: http://, https:// or unix:/PATH", true, false, func(c *Config) setting { return text{&c.Upstream} }},
	{"origin", "let pages of `ORIGIN` mint and connect, such as https://app.example; none means the gateway's own host", false, false, func(c *Config) setting { return texts{&c.Origins} }},
	{"aud", "take and mint tickets for `AUDIENCE`", false, false, func(c *Config) setting { return texts{&c.Audiences} }},
	{"iss", "take tickets of `ISSUER` only; the first is put into tickets that are minted here", false, false, func(c *Config) setting { return texts{&c.Issuers} }},
	{"carriers", "take tickets from these `PLACES`: query, subprotocol, bearer, cookie", false, false, func(c *Config) setting { return texts{&c.Carriers} }},
	{"protocols", "subprotocols of the backend, which must be offered beside a ticket that comes as one", false, false, func(c *Config) setting { return texts{&c.Protocols} }},
	{"single-use", "remember used tickets in this process (local), or for all nodes in redis://…, rediss://… or etcd://HOST:2379,…`local|URL`", true, true, func(c *Config) setting { return text{&c.SingleUse} }},
	{"peak", "size the local memory for `N` tickets a second", false, true, func(c *Config) setting { return number{&c.Peak} }},
	{"max-ttl", "refuse tickets that live longer than `DURATION`", false, true, func(c *Config) setting { return duration{&c.MaxTTL} }},
	{"leeway", "clocks may differ by `DURATION`", false, true, func(c *Config) setting { return duration{&c.Leeway} }},
	{"state", "save the local memory in `FILE` at the end, and load it at the start", false, true, func(c *Config) setting { return text{&c.State} }},
	{"mint-path", "answer POST on `PATH` with a ticket", false, false, func(c *Config) setting { return text{&c.MintPath} }},
	{"mint-auth", "ask `URL` who sent a request to mint-path; without it nothing is minted", true, false, func(c *Config) setting { return text{&c.MintAuth} }},
	{"mint-ttl", "tickets that are minted live for `DURATION`", false, false, func(c *Config) setting { return duration{&c.MintTTL} }},
	{"mint-rate", "mint at most `N` tickets a minute for a subject, and ask for ten times as many for an address", false, false, func(c *Config) setting { return number{&c.MintRate} }},
	{"verify-path", "answer subrequests of a proxy (forward authentication) on `PATH`; off when empty", false, false, func(c *Config) setting { return text{&c.VerifyPath} }},
	{"trusted-proxy", "believe X-Forwarded-For, -Proto, -Host and -Uri of peers within `CIDR`", false, false, func(c *Config) setting { return texts{&c.TrustedProxies} }},
	{"tls-cert", "serve TLS with the certificate chain in `FILE`, read again when it changes", false, false, func(c *Config) setting { return text{&c.TLSCert} }},
	{"tls-key", "the key of tls-cert, in `FILE`", false, false, func(c *Config) setting { return text{&c.TLSKey} }},
	{"max-connections", "hold at most `N` connections, handshakes among them", false, false, func(c *Config) setting { return number{&c.MaxConnections} }},
	{"max-per-subject", "hold at most `N` connections of one subject; 0 means any number", false, true, func(c *Config) setting { return number{&c.MaxPerSubject} }},
	{"timeout", "give a handshake, the upstream's part of it and a question to mint-auth `DURATION` each", false, true, func(c *Config) setting { return duration{&c.Timeout} }},
	{"drain", "at the end, close connections over at most `DURATION`", false, false, func(c *Config) setting { return duration{&c.Drain} }},
	{"admin", "serve /livez, /readyz, /metrics, /connections and /close on `ADDRESS`", false, true, func(c *Config) setting { return text{&c.Admin} }},
	{"admin-token-file", "ask callers of admin, but for /livez and /readyz, for the bearer token in `FILE`", false, false, func(c *Config) setting { return text{&c.AdminTokenFile} }},
	{"otlp", "send traces to `URL` by OTLP over HTTP, such as http://127.0.0.1:4318; without it none are made. OTEL_EXPORTER_OTLP_ENDPOINT sets it too", true, true, func(c *Config) setting { return text{&c.OTLP} }},
	{"log-format", "write the log as text or json`json|text`", false, true, func(c *Config) setting { return text{&c.LogFormat} }},
	{"log-level", "write what is at least debug, info, warn or error`debug|info|warn|error`", false, true, func(c *Config) setting { return text{&c.LogLevel} }},
}

// Default is the configuration where nothing is set.
func Default() Config {
	return Config{
		Listen:         "127.0.0.1:8080",
		Carriers:       []string{"query", "subprotocol"},
		SingleUse:      "local",
		Peak:           1000,
		MaxTTL:         wsticket.DefaultMaxTTL,
		Leeway:         wsticket.DefaultLeeway,
		MintPath:       "/ticket",
		MintTTL:        wsticket.DefaultTTL,
		MintRate:       60,
		MaxConnections: 100_000,
		Timeout:        5 * time.Second,
		Drain:          10 * time.Second,
		LogFormat:      "json",
		LogLevel:       "info",
	}
}

type (
	text     struct{ p *string }
	texts    struct{ p *[]string }
	number   struct{ p *int }
	duration struct{ p *time.Duration }
)

func (s text) list() bool     { return false }
func (s texts) list() bool    { return true }
func (s number) list() bool   { return false }
func (s duration) list() bool { return false }

func (s text) show() string     { return *s.p }
func (s texts) show() string    { return strings.Join(*s.p, ",") }
func (s number) show() string   { return strconv.Itoa(*s.p) }
func (s duration) show() string { return s.p.String() }

func (s text) set(values []string) error {
	*s.p = values[0]
	return nil
}

func (s texts) set(values []string) error {
	var all []string
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	*s.p = all
	return nil
}

func (s number) set(values []string) error {
	n, err := strconv.Atoi(values[0])
	if err != nil {
		return fmt.Errorf("%q is no whole number", values[0])
	}
	*s.p = n
	return nil
}

func (s duration) set(values []string) error {
	d, err := time.ParseDuration(values[0])
	if err != nil {
		return fmt.Errorf("%q is no duration; write it with its unit, such as 10s or 500ms", values[0])
	}
	*s.p = d
	return nil
}
