package etcdguard

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

// A guard works with TLS, as a user who may touch its prefix and nothing else; and says
// what is wrong, without the password, where that user may not.
func TestUserAndTLS(t *testing.T) {
	slow(t)
	files := t.TempDir()
	roots := certificate(t, files, time.Now().Add(time.Hour))
	c := startClusterTLS(t, roots, 1,
		"--listen-client-urls", "unixs://localhost:2",
		"--cert-file", filepath.Join(files, "cert.pem"), "--key-file", filepath.Join(files, "key.pem"))
	c.do(func(ctx context.Context, client *clientv3.Client) error {
		for _, step := range []func() error{
			func() error { _, err := client.RoleAdd(ctx, "root"); return err },
			func() error { _, err := client.UserAdd(ctx, "root", "root's"); return err },
			func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := client.RoleAdd(ctx, "gateway"); return err },
			func() error {
				_, err := client.RoleGrantPermission(ctx, "gateway", "wsticket/", clientv3.GetPrefixRangeEnd("wsticket/"), clientv3.PermissionType(clientv3.PermReadWrite))
				return err
			},
			func() error { _, err := client.UserAdd(ctx, "gateway", "open@sesame"); return err },
			func() error { _, err := client.UserGrantRole(ctx, "gateway", "gateway"); return err },
			func() error { _, err := client.AuthEnable(ctx); return err },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	at := strings.TrimPrefix(c.url(), "etcd://")
	config := Config{URL: "etcds://gateway:open%40sesame@" + at, Client: clientv3.Config{TLS: roots}}
	g := old(t, 1, config)[0]
	use := fresh()
	if err := g.Spend(t.Context(), use); err != nil {
		t.Error(err)
	}
	if err := g.sweep(t.Context()); err != nil {
		t.Error(err)
	}
	other := old(t, 1, config)[0]
	if err := other.Spend(t.Context(), use); err == nil {
		t.Error("another guard accepts it too")
	}
	// The member is away for a while, and its tokens with it.
	c.members[0].kill()
	c.start(c.members[0])
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := g.Spend(t.Context(), fresh())
		if err == nil {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("it does not resume: %v", err)
		}
	}

	for name, bad := range map[string]struct {
		config Config
		want   string
	}{
		"wrong password": {Config{URL: "etcds://gateway:open%40caraway@" + at, Client: clientv3.Config{TLS: roots}}, "authentication failed"},
		"another prefix": {Config{URL: config.URL, Prefix: "other/", Client: clientv3.Config{TLS: roots}}, "permission denied"},
		"no user":        {Config{URL: "etcds://" + at, Client: clientv3.Config{TLS: roots}}, "user name is empty"},
		"unknown roots":  {Config{URL: config.URL}, "unknown authority"},
		"no TLS":         {Config{URL: "etcd://gateway:open%40sesame@" + at}, ""},
	} {
		bad.config.Timeout = 500 * time.Millisecond
		g, err := New(t.Context(), bad.config)
		if err == nil {
			g.Close()
			t.Errorf("%s: it starts", name)
		} else if strings.Contains(err.Error(), "open") || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExpiredCertificate(t *testing.T) {
	slow(t)
	files := t.TempDir()
	roots := certificate(t, files, time.Now().Add(-time.Minute))
	past := roots.Clone()
	past.Time = func() time.Time { return time.Now().Add(-time.Hour) } // so that the test can see it start
	c := startClusterTLS(t, past, 1,
		"--listen-client-urls", "unixs://localhost:2",
		"--cert-file", filepath.Join(files, "cert.pem"), "--key-file", filepath.Join(files, "key.pem"))
	url := "etcds://" + strings.TrimPrefix(c.url(), "etcd://")
	old(t, 1, Config{URL: url, Client: clientv3.Config{TLS: past}})
	if _, err := New(t.Context(), Config{URL: url, Client: clientv3.Config{TLS: roots}, Timeout: 500 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v, want the certificate to have expired", err)
	}
}

// A store that is full refuses, and accepts again when there is room.
func TestStoreFull(t *testing.T) {
	slow(t)
	c := startCluster(t, 1, "--quota-backend-bytes", "4194304") // much more than the claims below take
	l := newLedger(t)
	g := old(t, 1, Config{URL: c.url()})[0]
	first := fresh()
	if err := l.show(t.Context(), g, first); err != nil {
		t.Fatal(err)
	}
	c.do(func(ctx context.Context, client *clientv3.Client) error {
		for range 2000 { // its size is looked at ten times a second
			if _, err := client.Put(ctx, "else", strings.Repeat("x", 8192)); err != nil {
				return nil // full
			}
		}
		t.Error("the store does not get full")
		return nil
	})
	// What is small may find room for a moment longer.
	var refused wsticket.Use
	for end := time.Now().Add(10 * time.Second); g.Stats().Unavailable == 0 && time.Now().Before(end); {
		refused = fresh()
		if err := l.show(t.Context(), g, refused); err != nil {
			wantUnavailable(t, err)
		}
	}
	if s := g.Stats(); s.Unavailable == 0 {
		t.Errorf("it is not counted: %+v", s)
	}
	c.do(func(ctx context.Context, client *clientv3.Client) error {
		r, err := client.Get(ctx, "else")
		if err == nil {
			_, err = client.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical())
		}
		// What was compacted may not be written yet, and a write of the guard that was under
		// way may sound the alarm once more.
		for full := true; full && err == nil; {
			if _, err = client.Defragment(ctx, "http://"+c.members[0].clients.addr); err != nil {
				break
			}
			if _, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err == nil {
				_, put := client.Put(ctx, "else", "little")
				full = put != nil
			}
		}
		return err
	})
	for _, use := range []wsticket.Use{fresh(), refused} {
		if err := l.show(t.Context(), g, use); err != nil {
			t.Error(err)
		}
	}
	l.show(t.Context(), g, first)
	wantSameStore(t, []*Guard{g})
}

// certificate writes one for 127.0.0.1 and its key, and returns what trusts it.
func certificate(t testing.TB, dir string, until time.Time) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd of a test"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{RootCAs: roots}
}
