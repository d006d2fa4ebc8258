package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
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
	{"single-use", "remember used tickets in this process (`local`), or for all nodes in redis://…, rediss://… or etcd://HOST:2379,…", true, true, func(c *Config) setting { return text{&c.SingleUse} }},
	{"peak", "size the local memory for `N` tickets a second", false, true, func(c *Config) setting { return number{&c.Peak} }},
	{"max-ttl", "refuse tickets that live longer than `DURATION`", false, true, func(c *Config) setting { return duration{&c.MaxTTL} }},
	{"leeway", "clocks may differ by `DURATION`", false, true, func(c *Config) setting { return duration{&c.Leeway} }},
	{"state", "save the local memory in `FILE` at the end, and load it at the start", false, true, func(c *Config) setting { return text{&c.State} }},
	{"mint-path", "answer POST on `PATH` with a ticket", false, false, func(c *Config) setting { return text{&c.MintPath} }},
	{"mint-auth", "ask `URL` who sent a request to mint-path; without it nothing is minted", true, false, func(c *Config) setting { return text{&c.MintAuth} }},
	{"mint-ttl", "tickets that are minted live for `DURATION`", false, false, func(c *Config) setting { return duration{&c.MintTTL} }},
	{"mint-rate", "mint at most `N` tickets a minute for a subject, and ten times as many for an address", false, false, func(c *Config) setting { return number{&c.MintRate} }},
	{"verify-path", "answer subrequests of a proxy (forward authentication) on `PATH`; off when empty", false, false, func(c *Config) setting { return text{&c.VerifyPath} }},
	{"trusted-proxy", "believe X-Forwarded-For, -Proto, -Host and -Uri of peers within `CIDR`", false, false, func(c *Config) setting { return texts{&c.TrustedProxies} }},
	{"tls-cert", "serve TLS with the certificate chain in `FILE`, read again when it changes", false, false, func(c *Config) setting { return text{&c.TLSCert} }},
	{"tls-key", "the key of tls-cert, in `FILE`", false, false, func(c *Config) setting { return text{&c.TLSKey} }},
	{"max-connections", "hold at most `N` connections, handshakes among them", false, false, func(c *Config) setting { return number{&c.MaxConnections} }},
	{"max-per-subject", "hold at most `N` connections of one subject; 0 means any number", false, true, func(c *Config) setting { return number{&c.MaxPerSubject} }},
	{"timeout", "give a handshake, the upstream's part of it and a question to mint-auth `DURATION` each", false, false, func(c *Config) setting { return duration{&c.Timeout} }},
	{"drain", "at the end, close connections over at most `DURATION`", false, false, func(c *Config) setting { return duration{&c.Drain} }},
	{"admin", "serve /livez, /readyz, /metrics, /connections and /close on `ADDRESS`", false, true, func(c *Config) setting { return text{&c.Admin} }},
	{"admin-token-file", "ask callers of admin, but for /livez and /readyz, for the bearer token in `FILE`", false, false, func(c *Config) setting { return text{&c.AdminTokenFile} }},
	{"otlp", "send traces to `URL` by OTLP over HTTP, such as http://127.0.0.1:4318; without it none are made. OTEL_EXPORTER_OTLP_ENDPOINT sets it too", true, true, func(c *Config) setting { return text{&c.OTLP} }},
	{"log-format", "write the log as `text` or json", false, true, func(c *Config) setting { return text{&c.LogFormat} }},
	{"log-level", "write what is at least `debug`, info, warn or error", false, true, func(c *Config) setting { return text{&c.LogLevel} }},
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

// Check finds every fault of a configuration, files included, and names each with its
// key and what to do.
func (c *Config) Check() error {
	_, err := c.compile()
	return err
}

// A compiled configuration is one without faults, its texts read.
type compiled struct {
	keys     *wsticket.Keyring
	upstream *upstream // nil where there is none
	ask      *url.URL  // nil where nothing is minted
	carriers wsticket.Carriers
	proxies  proxies
	cert     *certificate // nil without TLS
	otlp     *url.URL     // nil without traces
	token    string       // of the admin calls, or empty
}

func (c *Config) compile() (*compiled, error) {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	out := &compiled{}
	if c.Keys == "" {
		fault("keys", "is missing; make a keyring with: (umask 077 && wsticket keys generate > keyring.json)")
	} else if keys, err := wsticket.LoadKeyring(c.Keys); err != nil {
		fault("keys", "%w", err)
	} else {
		out.keys = keys
	}
	switch {
	case c.Upstream != "":
		up, err := parseUpstream(c.Upstream)
		if err != nil {
			fault("upstream", "%w", err)
		}
		out.upstream = up
	case c.VerifyPath == "" && c.MintAuth == "":
		fault("upstream", "is missing, and neither verify-path nor mint-auth is set, so there is nothing to do; give the address of the backend")
	}
	c.checkAddress("listen", c.Listen, fault)
	if c.MintAuth != "" {
		ask, err := parseAskURL(c.MintAuth)
		if err != nil {
			fault("mint-auth", "%w", err)
		}
		out.ask = ask
		checkPath("mint-path", c.MintPath, fault)
	}
	if c.VerifyPath != "" {
		checkPath("verify-path", c.VerifyPath, fault)
		if c.VerifyPath == c.MintPath && c.MintAuth != "" {
			fault("verify-path", "is the same as mint-path; give another")
		}
		if len(c.TrustedProxies) == 0 {
			fault("verify-path", "is set and trusted-proxy is not, so every subrequest would be refused; list the addresses of the proxy there")
		}
	}
	for _, name := range c.Carriers {
		carrier, ok := map[string]wsticket.Carriers{"query": wsticket.CarrierQuery, "subprotocol": wsticket.CarrierSubprotocol,
			"bearer": wsticket.CarrierBearer, "cookie": wsticket.CarrierCookie}[name]
		if !ok {
			fault("carriers", "%q is none; give query, subprotocol, bearer or cookie", name)
		}
		out.carriers |= carrier
	}
	if len(c.Carriers) == 0 {
		fault("carriers", "names none, so no ticket would be found; give query, subprotocol, bearer or cookie")
	}
	for _, cidr := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(cidr)
		if addr, aerr := netip.ParseAddr(cidr); err != nil && aerr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			fault("trusted-proxy", "%q is neither an address nor a prefix such as 10.0.0.0/8", cidr)
			continue
		}
		out.proxies = append(out.proxies, prefix.Masked())
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		fault("tls-cert", "and tls-key go together; give both or neither")
	case c.TLSCert != "":
		out.cert = &certificate{certFile: c.TLSCert, keyFile: c.TLSKey}
		if err := out.cert.load(); err != nil {
			fault("tls-cert", "%w", err)
		}
	}
	c.checkNumbers(fault)
	if c.Admin != "" {
		out.token = c.checkAdmin(fault)
	} else if c.AdminTokenFile != "" {
		fault("admin-token-file", "is set and admin is not; give admin an address")
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		fault("log-format", "%q is none; give text or json", c.LogFormat)
	}
	if _, err := level(c.LogLevel); err != nil {
		fault("log-level", "%w", err)
	}
	if c.OTLP != "" {
		to, err := parseOTLP(c.OTLP)
		if err != nil {
			fault("otlp", "%w", err)
		}
		out.otlp = to
	}
	c.checkSingleUse(fault)
	if len(faults) == 0 {
		// What the library finds is the same for every caller of it.
		if _, err := c.library(out, wsticket.DangerouslyAllowReplay, nil); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return out, nil
}

type faultFunc func(key, format string, args ...any)

func (c *Config) checkNumbers(fault faultFunc) {
	within := func(key string, n, low, high int) {
		if n < low || n > high {
			fault(key, "is %d; give %d to %d", n, low, high)
		}
	}
	within("peak", c.Peak, 1, 10_000_000)
	within("max-connections", c.MaxConnections, 1, 10_000_000)
	within("max-per-subject", c.MaxPerSubject, 0, 1_000_000)
	within("mint-rate", c.MintRate, 1, 1_000_000)
	between := func(key string, d, low, high, whole time.Duration) {
		if d < low || d > high || d%whole != 0 {
			of := ""
			if whole > 1 {
				of = " in whole seconds"
			}
			fault(key, "is %v; give %v to %v%s", d, low, high, of)
		}
	}
	between("max-ttl", c.MaxTTL, time.Second, time.Hour, time.Second)
	between("leeway", c.Leeway, 0, 5*time.Minute, time.Second)
	between("mint-ttl", c.MintTTL, time.Second, time.Hour, time.Second)
	between("timeout", c.Timeout, 100*time.Millisecond, 5*time.Minute, 1)
	between("drain", c.Drain, 0, time.Hour, 1)
	if c.MintTTL > c.MaxTTL {
		fault("mint-ttl", "is %v, above the max-ttl of %v; every ticket would be refused", c.MintTTL, c.MaxTTL)
	}
}

func checkPath(key, path string, fault faultFunc) {
	u, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") || u.Path != path || strings.Contains(path, "//") || len(path) > 1 && strings.HasSuffix(path, "/") {
		fault(key, "%q is no path; give one such as /ticket, without a query, an escape or a slash at the end", path)
	}
}

func (c *Config) checkAddress(key, address string, fault faultFunc) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			fault(key, "names no socket; give unix:/PATH")
		}
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		fault(key, "%q is no address; give HOST:PORT, :PORT or unix:/PATH", address)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		fault(key, "%q has no port; give HOST:PORT with a number", address)
	}
}

// checkAdmin returns the token. Without one, only this machine may reach the calls.
func (c *Config) checkAdmin(fault faultFunc) (token string) {
	c.checkAddress("admin", c.Admin, fault)
	if c.Admin == c.Listen && !strings.HasSuffix(c.Admin, ":0") {
		fault("admin", "is the same as listen; give another address")
	}
	if c.AdminTokenFile == "" {
		host, _, err := net.SplitHostPort(c.Admin)
		if addr, aerr := netip.ParseAddr(host); err == nil && host != "localhost" && (aerr != nil || !addr.IsLoopback()) {
			fault("admin", "%q can be reached from elsewhere, and would let anybody close connections; give a loopback or unix address, or admin-token-file", c.Admin)
		}
		return ""
	}
	content, err := os.ReadFile(c.AdminTokenFile)
	if err != nil {
		fault("admin-token-file", "%w", err)
		return ""
	}
	if token = strings.TrimSpace(string(content)); len(token) < 16 {
		fault("admin-token-file", "holds a token of %d characters; give 16 or more, such as those of: openssl rand -hex 32", len(token))
	}
	return token
}

func (c *Config) checkSingleUse(fault faultFunc) {
	scheme, rest, _ := strings.Cut(c.SingleUse, "://")
	switch scheme {
	case "local":
		if rest != "" {
			fault("single-use", "local has no address; give local alone")
		}
		return
	case "redis", "rediss", "etcd", "etcds":
		if rest == "" {
			fault("single-use", "%s:// names no server", scheme)
		}
	default:
		fault("single-use", "is none of local, redis://…, rediss://…, etcd://HOST:2379,… and etcds://…")
	}
	if c.State != "" {
		fault("state", "is for single-use local; a store keeps its own memory")
	}
}
