package gateway

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCheck: each fault is named with its key and what to do, secrets are not shown,
// and all faults come at once.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	write(t, keys, `{"keys":[{"kty":"oct","kid":"k1","alg":"HS256","k":"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}]}`)
	short := filepath.Join(dir, "token")
	write(t, short, "short\n")
	verifies, weak := filepath.Join(dir, "verifies.json"), filepath.Join(dir, "weak.json")
	write(t, verifies, `{"keys":[{"kty":"oct","kid":"k1","alg":"HS256","key_ops":["verify"],"k":"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}]}`)
	write(t, weak, `{"keys":[{"kty":"oct","kid":"k1","alg":"HS256","k":"aHVudGVyMg"}]}`)
	good := func() Config {
		c := Default()
		c.Keys, c.Upstream = keys, "http://127.0.0.1:3000"
		return c
	}
	if c := good(); c.Check() != nil {
		t.Fatal(c.Check())
	}
	all := Default()
	all.Upstream, all.MaxTTL, all.Peak, all.Origins, all.Protocols, all.SingleUse = "ftp://x", 3500*time.Millisecond, 0, []string{"x"}, []string{"a b"}, "redis://x:port"
	tested := map[string]bool{}
	for name, f := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no keys":         {func(c *Config) { c.Keys = "" }, []string{"keys: is missing", "wsticket keys generate"}},
		"keys not there":  {func(c *Config) { c.Keys = "/nowhere" }, []string{"keys: ", "/nowhere"}},
		"no upstream":     {func(c *Config) { c.Upstream = "" }, []string{"upstream: is missing", "address of the backend"}},
		"upstream scheme": {func(c *Config) { c.Upstream = "ws://x" }, []string{`upstream: its scheme is "ws"`, "http://HOST:PORT"}},
		"upstream user":   {func(c *Config) { c.Upstream = "http://me:hunter2@x" }, []string{"upstream: it has a user", "take them out"}},
		"upstream host":   {func(c *Config) { c.Upstream = "http://" }, []string{"upstream: the host is missing"}},
		"upstream socket": {func(c *Config) { c.Upstream = "unix:" }, []string{"upstream: the path of the socket is missing"}},
		"listen":          {func(c *Config) { c.Listen = "8080" }, []string{`listen: "8080" is no address`, "HOST:PORT"}},
		"listen port":     {func(c *Config) { c.Listen = "a:b" }, []string{`listen: "a:b" has no port`}},
		"listen socket":   {func(c *Config) { c.Listen = "unix:" }, []string{"listen: names no socket"}},
		"mint-auth":       {func(c *Config) { c.MintAuth = "http://me:hunter2@x/" }, []string{"mint-auth: it is no address to ask"}},
		"mint-path":       {func(c *Config) { c.MintAuth = "http://x/"; c.MintPath = "ticket" }, []string{`mint-path: "ticket" is no path`}},
		"mint-path query": {func(c *Config) { c.MintAuth = "http://x/"; c.MintPath = "/t?x" }, []string{`mint-path: "/t?x" is no path`}},
		"same paths": {func(c *Config) {
			c.MintAuth = "http://x/"
			c.VerifyPath = "/ticket"
			c.TrustedProxies = []string{"::1"}
		}, []string{"verify-path: is the same"}},
		"verify untrusted": {func(c *Config) { c.VerifyPath = "/verify" }, []string{"verify-path: is set and trusted-proxy is not"}},
		"trusted-proxy":    {func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/33"} }, []string{`trusted-proxy: "10.0.0.0/33"`}},
		"carriers":         {func(c *Config) { c.Carriers = []string{"url"} }, []string{`carriers: "url" is none`, "query, subprotocol"}},
		"no carriers":      {func(c *Config) { c.Carriers = nil }, []string{"carriers: names none"}},
		"origin":           {func(c *Config) { c.Origins = []string{"https://A.example/"} }, []string{"origin: ", "https://A.example/", "want scheme://host"}},
		"origin null":      {func(c *Config) { c.Origins = []string{"https://a.example", "null"} }, []string{`origin: origin "null"`}},
		"origin and mint":  {func(c *Config) { c.Origins, c.MintAuth = []string{"x"}, "http://x/" }, []string{"origin: "}},
		"protocols":        {func(c *Config) { c.Protocols = []string{"a b"} }, []string{`protocols: "a b"`, "letters, digits"}},
		"protocols ticket": {func(c *Config) { c.Protocols = []string{"ticket.x"} }, []string{`protocols: "ticket.x"`}},
		"protocols twice":  {func(c *Config) { c.Protocols = []string{"a", "b", "a"} }, []string{`protocols: "a" is listed twice`, "list it once"}},
		"aud":              {func(c *Config) { c.Audiences = []string{"a", "b\xff"} }, []string{`aud: "b\xff" fits into no ticket`}},
		"aud long":         {func(c *Config) { c.Audiences = []string{strings.Repeat("a", 5000)} }, []string{"aud: ", "fits into no ticket"}},
		"iss":              {func(c *Config) { c.Issuers = []string{"b\xff"} }, []string{`iss: "b\xff" fits into no ticket`}},
		"keys that verify": {func(c *Config) { c.Keys, c.MintAuth = verifies, "http://x/" }, []string{"keys: ", "no key that signs", "mint-auth"}},
		"keys short":       {func(c *Config) { c.Keys = weak }, []string{"keys: ", "too short", "wsticket keys generate"}},
		"carriers alone":   {func(c *Config) { c.Carriers = []string{"subprotocol"} }, []string{"carriers: names subprotocol alone", "protocols"}},
		"upstream itself":  {func(c *Config) { c.Upstream = "http://" + c.Listen }, []string{"upstream: is the address of the gateway itself"}},
		"upstream port":    {func(c *Config) { c.Upstream = "http://x:99999" }, []string{"upstream: its port is above 65535"}},
		"mint-auth port":   {func(c *Config) { c.MintAuth = "http://x:99999/" }, []string{"mint-auth: it is no address to ask"}},
		"mint under verify": {func(c *Config) {
			c.MintAuth, c.MintPath, c.VerifyPath, c.TrustedProxies = "http://x/", "/verify/ticket", "/verify", []string{"::1"}
		}, []string{"verify-path: is the same as mint-path, or above it"}},
		"verify-path":      {func(c *Config) { c.VerifyPath, c.TrustedProxies = "verify/", []string{"::1"} }, []string{`verify-path: "verify/" is no path`}},
		"state directory":  {func(c *Config) { c.State = dir }, []string{"state: ", "is no regular file"}},
		"state nowhere":    {func(c *Config) { c.State = dir + "/no/state" }, []string{"state: nothing can be written into " + dir + "/no", "directory that is the gateway's own"}},
		"redis port":       {func(c *Config) { c.SingleUse = "redis://me:hunter2@x:port/0" }, []string{"single-use: ", "percent-encoded"}},
		"redis parameter":  {func(c *Config) { c.SingleUse = "redis://me:hunter2@x/0?foo=hunter2" }, []string{"single-use: ", `"foo" is unknown`}},
		"etcd member":      {func(c *Config) { c.SingleUse = "etcd://me:hunter2@x:2379,y" }, []string{"single-use: ", "host:port"}},
		"peak too large":   {func(c *Config) { c.Peak, c.MaxTTL = 10_000_000, time.Hour }, []string{"peak: and max-ttl", "memory"}},
		"admin address":    {func(c *Config) { c.Admin = "9090" }, []string{`admin: "9090" is no address`}},
		"tls-key":          {func(c *Config) { c.TLSKey = "x" }, []string{"tls-cert: and tls-key go together"}},
		"tls half":         {func(c *Config) { c.TLSCert = "x" }, []string{"tls-cert: and tls-key go together"}},
		"tls files":        {func(c *Config) { c.TLSCert, c.TLSKey = "/nowhere", "/nowhere" }, []string{"tls-cert: ", "/nowhere"}},
		"peak":             {func(c *Config) { c.Peak = -1 }, []string{"peak: is -1; give 1 to"}},
		"max-ttl":          {func(c *Config) { c.MaxTTL = 90 * time.Minute }, []string{"max-ttl: is 1h30m0s; give 1s to 1h0m0s"}},
		"mint-ttl":         {func(c *Config) { c.MintTTL = 2 * time.Minute }, []string{"mint-ttl: is 2m0s, above the max-ttl"}},
		"leeway":           {func(c *Config) { c.Leeway = 1500 * time.Millisecond }, []string{"leeway: is 1.5s", "whole seconds"}},
		"timeout":          {func(c *Config) { c.Timeout = 0 }, []string{"timeout: is 0s"}},
		"drain":            {func(c *Config) { c.Drain = -1 }, []string{"drain: "}},
		"max-connections":  {func(c *Config) { c.MaxConnections = 0 }, []string{"max-connections: is 0"}},
		"max-per-subject":  {func(c *Config) { c.MaxPerSubject = -1 }, []string{"max-per-subject: is -1"}},
		"mint-rate":        {func(c *Config) { c.MintRate = 0 }, []string{"mint-rate: is 0"}},
		"admin open":       {func(c *Config) { c.Admin = ":9090" }, []string{"admin: ", "reached from elsewhere", "admin-token-file"}},
		"admin same":       {func(c *Config) { c.Admin = c.Listen }, []string{"admin: is the same as listen"}},
		"token alone":      {func(c *Config) { c.AdminTokenFile = short }, []string{"admin-token-file: is set and admin is not"}},
		"token short":      {func(c *Config) { c.Admin, c.AdminTokenFile = ":9090", short }, []string{"admin-token-file: holds a token of 5 characters", "openssl rand"}},
		"token file":       {func(c *Config) { c.Admin, c.AdminTokenFile = ":9090", "/nowhere" }, []string{"admin-token-file: "}},
		"log-format":       {func(c *Config) { c.LogFormat = "xml" }, []string{`log-format: "xml" is none; give text or json`}},
		"log-level":        {func(c *Config) { c.LogLevel = "loud" }, []string{`log-level: "loud" is none`}},
		"otlp":             {func(c *Config) { c.OTLP = "http://me:hunter2@x" }, []string{"otlp: it is no address", "http://HOST:4318"}},
		"otlp scheme":      {func(c *Config) { c.OTLP = "grpc://x:4317" }, []string{"otlp: it is no address"}},
		"single-use":       {func(c *Config) { c.SingleUse = "memcached://hunter2" }, []string{"single-use: is none of local"}},
		"single-use empty": {func(c *Config) { c.SingleUse = "redis://" }, []string{"single-use: redis:// names no server"}},
		"state":            {func(c *Config) { c.SingleUse, c.State = "redis://x", "f" }, []string{"state: is for single-use local"}},
		"all at once":      {func(c *Config) { *c = all }, []string{"keys: ", "upstream: ", "max-ttl: ", "peak: ", "origin: ", "protocols: ", "single-use: "}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			f.change(&c)
			err := c.Check()
			if err == nil {
				t.Fatal("no fault")
			}
			for _, want := range f.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %q", want, err)
				}
			}
			key, _, ok := strings.Cut(f.want[0], ":")
			if !ok || !strings.HasPrefix(err.Error(), key+": ") {
				t.Errorf("%q does not begin with a key", err)
			}
			tested[key] = true
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyMg") {
				t.Errorf("a secret is shown: %v", err)
			}
			if n := strings.Count(err.Error(), "\n") + 1; name != "all at once" && n != 1 {
				t.Errorf("%d faults of one: %v", n, err)
			}
		})
	}
	tested["tls-key"] = true // with tls-cert, whose faults are theirs together
	for _, o := range options {
		if !tested[o.name] {
			t.Errorf("no fault of %s is tested", o.name)
		}
	}
}

// TestStartFaults: what only shows at the start is named with its key too, and a
// password is not shown.
func TestStartFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	good := w.g.state.Load().config
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"the store is away": {func(c *Config) { c.SingleUse = "redis://me:hunter2@127.0.0.1:1/0" }, "single-use: "},
		"etcd is away":      {func(c *Config) { c.SingleUse = "etcd://me:hunter2@127.0.0.1:1" }, "single-use: "},
		"listen is taken":   {func(c *Config) { c.Listen = w.addr }, "listen: "},
		"admin is taken":    {func(c *Config) { c.Admin = w.addr }, "admin: "},
		"listen is far":     {func(c *Config) { c.Listen = "192.0.2.1:8080" }, "listen: "},
		"socket":            {func(c *Config) { c.Listen = "unix:/nowhere/s" }, "listen: "},
	} {
		config := good
		c.change(&config)
		g, err := New(t.Context(), config, io.Discard)
		if err == nil {
			err = g.Serve(t.Context(), func(string) { t.Error("it serves") })
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDescriptors: who may have fewer descriptors than max-connections wants is told at
// the start.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	has := descriptors()
	if has == 0 {
		t.Skip("the limit is not known here")
	}
	for most, told := range map[uint64]bool{(has - 100) / 2: false, has: true} {
		w := newWorld(t, func(c *Config) { c.MaxConnections = int(min(most, 10_000_000)) })
		w.stop()
		if got := strings.Contains(w.logs.String(), "more descriptors"); got != told && most < 10_000_000 {
			t.Errorf("%d connections, %d descriptors: told %v", most, has, got)
		}
	}
}
