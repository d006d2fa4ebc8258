package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
)

// Check finds every fault of a configuration, files included, and names each with its
// key and what to do. It asks no other machine.
func (c *Config) Check() error {
	_, err := c.compile()
	return err
}

// Warnings tells what is no fault and still hardly wanted, each with what to do. It looks
// at files, and says nothing of those that it cannot read: Check does.
func (c *Config) Warnings() []string {
	info, err := os.Stat(c.Keys)
	switch {
	case err != nil || runtime.GOOS == "windows" || !info.Mode().IsRegular(): // Windows has no such bits
	case info.Mode()&0o004 != 0:
		return []string{fmt.Sprintf("keys: every user of this machine can read %s, and whoever reads it can mint: chmod o= %[1]s", c.Keys)}
	case info.Mode()&0o022 != 0:
		return []string{fmt.Sprintf("keys: others than its owner can change %s, and whoever changes it can mint: chmod go-w %[1]s", c.Keys)}
	}
	return nil
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

type faultFunc func(key, format string, args ...any)

func (c *Config) compile() (*compiled, error) {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	out := &compiled{}
	c.checkKeys(out, fault)
	c.checkUpstream(out, fault)
	checkAddress("listen", c.Listen, fault)
	c.checkPaths(out, fault)
	c.checkTickets(out, fault)
	c.checkProxies(out, fault)
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
	c.checkState(fault)
	if len(faults) == 0 {
		// What is left, the library finds.
		if _, err := c.library(out, wsticket.DangerouslyAllowReplay, nil); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return out, nil
}

func (c *Config) checkProxies(out *compiled, fault faultFunc) {
	for _, cidr := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(cidr)
		if addr, aerr := netip.ParseAddr(cidr); err != nil && aerr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			fault("trusted-proxy", "%q is neither an address nor a prefix such as 10.0.0.0/8", cidr)
			continue
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 { // peers are compared as IPv4
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		out.proxies = append(out.proxies, prefix.Masked())
	}
}

func (c *Config) checkKeys(out *compiled, fault faultFunc) {
	if c.Keys == "" {
		fault("keys", "is missing; make a keyring with: (umask 077 && wsticket keys generate > keyring.json)")
		return
	}
	keys, err := wsticket.LoadKeyring(c.Keys)
	if err != nil {
		fault("keys", "%w", err)
		return
	}
	out.keys = keys
	if c.MintAuth != "" {
		if _, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys}); err != nil {
			fault("keys", "%s has no key that signs now or later, and mint-auth is set; give a keyring with one, or take mint-auth out", c.Keys)
		}
	}
}

func (c *Config) checkUpstream(out *compiled, fault faultFunc) {
	if c.Upstream == "" {
		if c.VerifyPath == "" && c.MintAuth == "" {
			fault("upstream", "is missing, and neither verify-path nor mint-auth is set, so there is nothing to do; give the address of the backend")
		}
		return
	}
	up, err := parseUpstream(c.Upstream)
	if err != nil {
		fault("upstream", "%w", err)
		return
	}
	if path, ok := strings.CutPrefix(c.Listen, "unix:"); up.address == c.Listen || ok && up.network == "unix" && up.address == path {
		fault("upstream", "is the address of the gateway itself (listen); give that of the backend")
	}
	out.upstream = up
}

func (c *Config) checkPaths(out *compiled, fault faultFunc) {
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
		if c.MintAuth != "" && (c.VerifyPath == c.MintPath || strings.HasPrefix(c.MintPath, c.VerifyPath+"/")) {
			fault("verify-path", "is the same as mint-path, or above it; give another")
		}
		if len(c.TrustedProxies) == 0 {
			fault("verify-path", "is set and trusted-proxy is not, so every subrequest would be refused; list the addresses of the proxy there")
		}
	}
}

// checkTickets finds what the library would find fault with, for each value by itself,
// so that each fault is told with its key.
func (c *Config) checkTickets(out *compiled, fault faultFunc) {
	for _, name := range c.Carriers {
		carrier, ok := map[string]wsticket.Carriers{"query": wsticket.CarrierQuery, "subprotocol": wsticket.CarrierSubprotocol,
			"bearer": wsticket.CarrierBearer, "cookie": wsticket.CarrierCookie}[name]
		if !ok {
			fault("carriers", "%q is none; give query, subprotocol, bearer or cookie", name)
		}
		out.carriers |= carrier
	}
	switch {
	case len(c.Carriers) == 0:
		fault("carriers", "names none, so no ticket would be found; give query, subprotocol, bearer or cookie")
	case out.carriers == wsticket.CarrierSubprotocol && len(c.Protocols) == 0:
		fault("carriers", "names subprotocol alone, and protocols is empty, so no ticket would be taken; list the subprotocols of the backend there")
	}
	// A key of no use but to be there.
	keys, err := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"check","alg":"HS256","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}`))
	if err != nil {
		panic(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: wsticket.DangerouslyAllowReplay})
	if err != nil {
		panic(err)
	}
	reason := func(err error, before string) string {
		text := err.Error()
		if _, behind, ok := strings.Cut(text, before); ok {
			return behind
		}
		return text
	}
	for _, origin := range c.Origins {
		if _, err := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier, Origins: []string{origin}}); err != nil {
			fault("origin", "%s", reason(err, "Origins: "))
		}
	}
	for i, protocol := range c.Protocols {
		if slices.Contains(c.Protocols[:i], protocol) {
			fault("protocols", "%q is listed twice; list it once", protocol)
		} else if _, err := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier, Protocols: []string{protocol}}); err != nil {
			fault("protocols", "%s", reason(err, "Protocols holds "))
		}
	}
	signs := func(key, value string, claims wsticket.Claims) {
		signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
		if err == nil {
			_, err = signer.Sign(&claims)
		}
		if err != nil {
			fault(key, "%.40q fits into no ticket: %s", value, reason(err, "wsticket: "))
		}
	}
	for _, audience := range c.Audiences {
		signs("aud", audience, wsticket.Claims{Subject: "check", Audiences: []string{audience}})
	}
	for _, issuer := range c.Issuers {
		signs("iss", issuer, wsticket.Claims{Subject: "check", Issuer: issuer})
	}
}

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

func checkAddress(key, address string, fault faultFunc) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			fault(key, "names no socket; give unix:/PATH")
		}
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		fault(key, "%q is no address; give HOST:PORT, :PORT or unix:/PATH", address)
	} else if !isPort(port) {
		fault(key, "%q has no port; give HOST:PORT with a number", address)
	}
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && (n > 0 || text == "0")
}

// checkAdmin returns the token. Without one, only this machine may reach the calls.
func (c *Config) checkAdmin(fault faultFunc) (token string) {
	checkAddress("admin", c.Admin, fault)
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
		fault("admin-token-file", "%w; make one with: (umask 077 && openssl rand -hex 32 > FILE)", err)
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
		// Where this alone is more than a cache may have, making one reserves nothing
		// and says so.
		if int64(c.Peak)*int64((c.MaxTTL+2*c.Leeway)/time.Second)*16 > 64<<30 && c.Peak <= 10_000_000 && c.MaxTTL <= time.Hour && c.Leeway <= 5*time.Minute {
			if _, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: c.Peak, MaxTTL: c.MaxTTL, Leeway: c.leeway()}); err != nil {
				fault("peak", "and max-ttl and leeway need more memory than there may be: %w", err)
			}
		}
	case "redis", "rediss", "etcd", "etcds":
		if rest == "" {
			fault("single-use", "%s:// names no server", scheme)
			return
		}
		// The guard of the store knows what its URL may be. Its time is over before it
		// asks anybody.
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		alone := Default()
		alone.SingleUse = c.SingleUse
		if g, err := newGuard(ctx, &alone, nil); err == nil {
			g.Close()
		} else if !errors.Is(err, context.Canceled) {
			fault("single-use", "%w", err)
		}
	default:
		fault("single-use", "is none of local, redis://…, rediss://…, etcd://HOST:2379,… and etcds://…")
	}
}

// checkState sees whether the memory could be saved: at the end it would be too late.
func (c *Config) checkState(fault faultFunc) {
	if c.State == "" {
		return
	}
	if c.SingleUse != "local" {
		fault("state", "is for single-use local; a store keeps its own memory")
		return
	}
	if info, err := os.Stat(c.State); err == nil && !info.Mode().IsRegular() {
		fault("state", "%s is there and is no regular file; name one that the gateway may write and remove", c.State)
		return
	}
	f, err := os.CreateTemp(filepath.Dir(c.State), ".wsticket-*")
	if err != nil {
		var which *os.PathError
		if errors.As(err, &which) {
			err = which.Err
		}
		fault("state", "nothing can be written into %s: %w; name a file in a directory that is the gateway's own", filepath.Dir(c.State), err)
		return
	}
	f.Close()
	os.Remove(f.Name())
}

// leeway is what the library wants: its zero value is its default.
func (c *Config) leeway() time.Duration {
	if c.Leeway == 0 {
		return wsticket.NoLeeway
	}
	return c.Leeway
}
