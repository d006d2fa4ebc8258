package redisguard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// An authority signs certificates for this test.
type authority struct {
	tb   testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	ca := &authority{tb: tb, dir: tb.TempDir(), pool: x509.NewCertPool()}
	ca.key = newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	ca.pool.AddCert(ca.cert)
	ca.write("ca.crt", "CERTIFICATE", der)
	return ca
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// issue writes name.crt and name.key, for 127.0.0.1 or for these hosts, good until then.
func (ca *authority) issue(name string, until time.Time, hosts ...string) {
	ca.tb.Helper()
	addresses := []net.IP{net.IPv4(127, 0, 0, 1)}
	if len(hosts) > 0 {
		addresses = nil
	}
	key := newKey(ca.tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IPAddresses: addresses, DNSNames: hosts,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		ca.tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.tb.Fatal(err)
	}
	ca.write(name+".crt", "CERTIFICATE", der)
	ca.write(name+".key", "PRIVATE KEY", keyDER)
}

func (ca *authority) file(name string) string { return filepath.Join(ca.dir, name) }

func (ca *authority) write(name, kind string, der []byte) {
	ca.tb.Helper()
	if err := os.WriteFile(ca.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.tb.Fatal(err)
	}
}

// TLS: with a certificate for each side; with one that has expired, from the beginning
// and later.
func TestTLS(t *testing.T) {
	t.Parallel()
	slow(t)
	ca := newAuthority(t)
	ca.issue("server", time.Now().Add(time.Hour))
	ca.issue("expired", time.Now().Add(-time.Minute))
	ca.issue("node", time.Now().Add(time.Hour))
	port := freePort(t)
	s := startServer(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", ca.file("server.crt"), "--tls-key-file", ca.file("server.key"),
		"--tls-ca-cert-file", ca.file("ca.crt"), "--tls-auth-clients", "yes")
	remember(t, s)
	cert, err := tls.LoadX509KeyPair(ca.file("node.crt"), ca.file("node.key"))
	if err != nil {
		t.Fatal(err)
	}
	config := shortest("rediss://127.0.0.1:" + strconv.Itoa(port))
	if _, err := New(t.Context(), config); err == nil {
		t.Error("a server with a certificate of nobody we know is taken")
	}
	config.TLS = &tls.Config{RootCAs: ca.pool}
	if _, err := New(t.Context(), config); err == nil {
		t.Error("the server takes a node without certificate, so this tests nothing")
	}
	config.TLS.Certificates = []tls.Certificate{cert}
	g := newGuard(t, config)
	a := newAccount(t)
	used := a.mustAccept(20, 20, g)

	s.must("CONFIG", "SET", "tls-cert-file", ca.file("expired.crt"), "tls-key-file", ca.file("expired.key"))
	s.must("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	within(t, backSoon, "the expired certificate is noticed", func() bool {
		err := a.spend(g, ticket(5))
		return errors.Is(err, wsticket.ErrReplayUnavailable) && strings.Contains(errorsOf(g, err), "expired")
	})
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("with an expired certificate: %v", err)
	}
	s.must("CONFIG", "SET", "tls-cert-file", ca.file("server.crt"), "tls-key-file", ca.file("server.key"))
	a.acceptsAgain(backSoon, g)
	a.showAgain(used, g, newGuard(t, config))
}

// A Sentinel and the primary that it names have certificates for their own hosts.
func TestTLSOfEachHost(t *testing.T) {
	t.Parallel()
	slow(t)
	ca := newAuthority(t)
	ca.issue("sentinel", time.Now().Add(time.Hour))
	ca.issue("primary", time.Now().Add(time.Hour), "localhost")
	port := freePort(t)
	s := startServer(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", ca.file("primary.crt"), "--tls-key-file", ca.file("primary.key"),
		"--tls-ca-cert-file", ca.file("ca.crt"), "--tls-auth-clients", "no")
	remember(t, s)
	sentinel := &server{tb: t, program: []string{redisSentinel(t)}, port: freePort(t), dir: t.TempDir(), bare: true}
	secure := freePort(t)
	text := fmt.Sprintf("port %d\ntls-port %d\nbind 127.0.0.1\ndir %s\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients no\n"+
		"tls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor main localhost %d 1\n",
		sentinel.port, secure, sentinel.dir, ca.file("sentinel.crt"), ca.file("sentinel.key"), ca.file("ca.crt"), port)
	if err := os.WriteFile(sentinel.file("sentinel.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.program = append(sentinel.program, sentinel.file("sentinel.conf"))
	t.Cleanup(sentinel.kill)
	sentinel.start()
	config := shortest("rediss://127.0.0.1:" + strconv.Itoa(secure) + "?master_set=main")
	config.TLS = &tls.Config{RootCAs: ca.pool}
	a := newAccount(t)
	a.showAgain(a.mustAccept(20, 20, newGuard(t, config)), newGuard(t, config))
	config.TLS.ServerName = "127.0.0.1" // what is given holds for all
	if _, err := New(t.Context(), config); err == nil {
		t.Error("the primary is taken for another host")
	}
}

// A certificate is checked for the host that the server was found under; an address that a node has
// announced, for the host of the URL.
func TestServerName(t *testing.T) {
	for _, tt := range []struct{ host, address, want string }{
		{"a", "a:1", "a"}, {"a", "b:1", "b"}, {"a", "10.0.0.1:1", "a"}, {"a", "[::1]:1", "a"},
		{"10.0.0.1", "10.0.0.2:1", "10.0.0.2"}, {"10.0.0.1", "b:1", "b"}, {"::1", "[::2]:1", "::2"}, {"a", "odd", "a"},
	} {
		if got := serverName(tt.host, tt.address); got != tt.want {
			t.Errorf("%s, found by %s: %s, want %s", tt.address, tt.host, got, tt.want)
		}
	}
}

// errorsOf is what a refusal and the guard's counters say went wrong.
func errorsOf(g *Guard, err error) string {
	if last := g.Stats().LastError; last != nil {
		return err.Error() + "; " + last.Error()
	}
	return err.Error()
}
