package gateway

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// An upstream is the backend that the connections go to.
type upstream struct {
	network, address string // "tcp" or "unix"
	host             string // for TLS
	prefix           string // before the path of every request
	tls              *tls.Config
	dialer           net.Dialer
}

// parseUpstream reads http://, https:// or unix: URLs.
func parseUpstream(text string) (*upstream, error) {
	const want = "give http://HOST:PORT, https://HOST:PORT or unix:/PATH"
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is no URL; " + want) // err repeats the URL, which may hold a password
	}
	up := &upstream{}
	switch u.Scheme {
	case "unix":
		path := u.Path
		if path == "" {
			path = u.Opaque
		}
		if path == "" || u.Host != "" {
			return nil, errors.New("the path of the socket is missing; " + want)
		}
		up.network, up.address = "unix", path
		return up, nil
	case "http", "https":
		if u.Hostname() == "" {
			return nil, errors.New("the host is missing; " + want)
		}
		port := u.Port()
		if port != "" && !isPort(port) {
			return nil, errors.New("its port is above 65535; " + want)
		}
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, errors.New("it has a user, a query or a fragment, which are not sent; take them out")
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.IsLoopback() {
			up.dialer.KeepAlive = -1 // this machine closes the sockets of who dies
		}
		up.network, up.address, up.host = "tcp", net.JoinHostPort(u.Hostname(), port), u.Hostname()
		up.prefix = strings.TrimSuffix(u.EscapedPath(), "/")
		if u.Scheme == "https" {
			up.tls = &tls.Config{ServerName: up.host, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
		}
		return up, nil
	}
	return nil, fmt.Errorf("its scheme is %q; %s", u.Scheme, want)
}

func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	conn, err := u.dialer.DialContext(ctx, u.network, u.address)
	if err != nil || u.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, u.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

const (
	// maxUpstreamHead bounds the head of the upstream's answer.
	maxUpstreamHead = 64 << 10
	// maxUpstreamBody bounds the body of an answer that is no 101.
	maxUpstreamBody = 1 << 20
)

// readers are for answers. A tunnel needs none.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// An answered upstream has read the handshake.
type answered struct {
	conn     net.Conn
	reader   *bufio.Reader
	limited  *io.LimitedReader
	response *http.Response
	upgraded bool // it is a right 101
}

// ask sends the handshake r on and reads the answer. The deadline of ctx bounds all
// of it. An answer that is a 101 and not a right one is an error: nothing of it may
// reach the client, and no byte of the client may reach who gave it.
func (u *upstream) ask(ctx context.Context, r *http.Request, header http.Header) (a *answered, err error) {
	conn, err := u.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	// The deadline of ctx is that of the connection; what is left is a client that
	// goes away.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := ctx.Err(); err != nil { // nothing of a session that ended while it dialled
		return nil, err
	}

	var head strings.Builder
	// As it came, since that is what the ticket was checked for; without the host, where
	// it came with one.
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = "/" + strings.TrimPrefix(r.URL.EscapedPath(), "/")
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
	}
	head.WriteString("GET " + u.prefix + target)
	head.WriteString(" HTTP/1.1\r\nHost: " + r.Host + "\r\n")
	header.Write(&head)
	head.WriteString("\r\n")
	if _, err := io.WriteString(conn, head.String()); err != nil {
		return nil, fmt.Errorf("sending the handshake: %w", err)
	}

	limited := &io.LimitedReader{R: conn, N: maxUpstreamHead}
	reader := readers.Get().(*bufio.Reader)
	reader.Reset(limited)
	defer func() {
		if err != nil {
			reader.Reset(nil)
			readers.Put(reader)
		}
	}()
	request := &http.Request{Method: http.MethodGet}
	var response *http.Response
	for informational := 0; ; informational++ {
		if response, err = http.ReadResponse(reader, request); err != nil {
			if limited.N <= 0 {
				return nil, fmt.Errorf("the head of its answer is longer than %d bytes", maxUpstreamHead)
			}
			return nil, fmt.Errorf("reading its answer: %w", withoutText(err))
		}
		if response.StatusCode < 100 {
			return nil, fmt.Errorf("its status %03d is none", response.StatusCode)
		}
		if response.StatusCode/100 != 1 || response.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		if informational == 8 {
			return nil, errors.New("it sends one informational answer after the other")
		}
	}
	a = &answered{conn: conn, reader: reader, limited: limited, response: response}
	if response.StatusCode == http.StatusSwitchingProtocols {
		if err := checkSwitching(header, response); err != nil {
			return nil, fmt.Errorf("its 101 is wrong: %w", err)
		}
		a.upgraded = true
	}
	return a, nil
}

var errNoHTTP = errors.New("it does not keep to HTTP")

// withoutText hides errors that quote what was read: it may hold a cookie, or the query
// of the request where somebody sends that back.
func withoutText(err error) error {
	var (
		network     net.Error
		certificate *tls.CertificateVerificationError
	)
	inner := err
	for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
		inner = next
	}
	text := inner.Error()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled),
		errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &network), errors.As(err, &certificate),
		strings.HasPrefix(text, "tls: "), strings.HasPrefix(text, "net/http: server response headers exceeded"):
		return err
	}
	return errNoHTTP
}

// checkSwitching compares a 101 with what was asked (RFC 6455 section 4.1).
func checkSwitching(asked http.Header, response *http.Response) error {
	h := response.Header
	if response.ProtoMajor != 1 || response.ProtoMinor < 1 {
		return errors.New("it is not of HTTP/1.1")
	}
	if !oneToken(h["Upgrade"], "websocket") {
		return errors.New("its Upgrade is not websocket")
	}
	if !slices.ContainsFunc(tokens(h["Connection"]), func(token string) bool { return strings.EqualFold(token, "upgrade") }) {
		return errors.New("its Connection does not list upgrade")
	}
	if accept := h["Sec-Websocket-Accept"]; len(accept) != 1 || accept[0] != acceptFor(asked.Get("Sec-Websocket-Key")) {
		return errors.New("its Sec-WebSocket-Accept does not answer the key")
	}
	if selected := h["Sec-Websocket-Protocol"]; len(selected) > 1 ||
		len(selected) == 1 && !slices.Contains(tokens(asked["Sec-Websocket-Protocol"]), selected[0]) {
		return errors.New("it selects a subprotocol that was not offered")
	}
	offered := map[string]bool{}
	for _, extension := range tokens(asked["Sec-Websocket-Extensions"]) {
		offered[extensionName(extension)] = true
	}
	for _, extension := range tokens(h["Sec-Websocket-Extensions"]) {
		if !offered[extensionName(extension)] {
			return errors.New("it uses an extension that was not offered")
		}
	}
	if len(response.TransferEncoding) > 0 || h["Transfer-Encoding"] != nil || h["Content-Length"] != nil && h.Get("Content-Length") != "0" {
		return errors.New("it announces a body")
	}
	return nil
}

// acceptFor is the answer to a key (RFC 6455 section 4.2.2).
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func oneToken(lines []string, want string) bool {
	return len(lines) == 1 && strings.EqualFold(strings.TrimSpace(lines[0]), want)
}

// tokens are the members of a list over all its lines.
func tokens(lines []string) []string {
	var all []string
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.TrimSpace(member); member != "" {
				all = append(all, member)
			}
		}
	}
	return all
}

func extensionName(extension string) string {
	name, _, _ := strings.Cut(extension, ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// hopByHop are the headers that end with a connection (RFC 9110 section 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// withoutHops takes the headers out of h that are for one connection only, those that
// Connection names among them.
func withoutHops(h http.Header) {
	for _, name := range tokens(h["Connection"]) {
		h.Del(name)
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}
