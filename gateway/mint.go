package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wsticket/wsticket"
)

// An asker finds out who sent a request to the mint path: it asks the backend, with
// the Cookie and the Authorization of that request, and reads claims.
type asker struct {
	url     string
	client  *http.Client
	timeout time.Duration
	proxies proxies
	traces  *traces
}

// maxClaims bounds the answer: no more fits into a ticket.
const maxClaims = 4 << 10

// newAsker prepares asking at a URL, which parseAskURL has read.
func newAsker(target *url.URL, timeout time.Duration, trusted proxies) *asker {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // a variable of the environment must not see the users' cookies
	transport.MaxIdleConnsPerHost = 64
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.DisableCompression = true // a few bytes, of which a bomb makes many
	return &asker{target.String(), &http.Client{
		Transport: transport,
		// To be sent somewhere else means: log in. Cookies must not go along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, timeout, trusted, nil}
}

func parseAskURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Port() != "" && !isPort(u.Port()) {
		return nil, errors.New("it is no address to ask; give http://HOST/PATH or https://HOST/PATH, without a user")
	}
	return u, nil
}

var errAnswer = errors.New("the answer of mint-auth")

// authenticate is for the MintHandler.
func (a *asker) authenticate(r *http.Request) (*wsticket.Claims, error) {
	c, err := a.claims(r)
	if err == nil || errors.Is(err, wsticket.ErrUnauthenticated) || errors.Is(err, wsticket.ErrForbidden) {
		return c, err
	}
	return nil, fmt.Errorf("%w: %w", wsticket.ErrUnavailable, err)
}

// claims asks. 200 with a JSON object of claims is a user; 401 and 403 are refusals;
// all else is a fault, and its text stays here.
func (a *asker) claims(r *http.Request) (*wsticket.Claims, error) {
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Cookie", "Authorization", "User-Agent", "Accept-Language"} {
		if lines := r.Header[name]; len(lines) > 0 {
			ask.Header[name] = lines
		}
	}
	ask.Header.Set("Accept", "application/json")
	from := r.Header.Clone()
	a.proxies.forward(r, from)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		ask.Header[name] = from[name]
	}
	_, s := a.traces.ask(ctx, "mint-auth", ask.Header)
	defer s.end()
	answer, err := a.client.Do(ask)
	if err != nil {
		s.failed()
		var unwrap *url.Error
		if errors.As(err, &unwrap) {
			err = unwrap.Err // without the URL
		}
		return nil, fmt.Errorf("asking mint-auth: %w", withoutText(err))
	}
	defer answer.Body.Close()
	s.status(answer.StatusCode)
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, wsticket.ErrUnauthenticated
	case http.StatusForbidden:
		return nil, wsticket.ErrForbidden
	default:
		return nil, fmt.Errorf("%w has status %d; answer 200 with claims, 401 or 403", errAnswer, answer.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("%w is not application/json", errAnswer)
	}
	if coding := answer.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, fmt.Errorf("%w is compressed (%.32q), which was not asked for", errAnswer, coding)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxClaims+1))
	if err != nil {
		return nil, fmt.Errorf("%w broke off: %w", errAnswer, err)
	}
	if len(body) > maxClaims {
		return nil, fmt.Errorf("%w is longer than %d bytes", errAnswer, maxClaims)
	}
	return readClaims(body)
}

// readClaims reads a JSON object of claims, strictly: each member once, with the type
// that the ticket format gives it. What the format leaves to the application goes into
// the ticket as it is.
func readClaims(body []byte) (*wsticket.Claims, error) {
	c := &wsticket.Claims{}
	var fault error
	err := members(body, func(name string, value json.RawMessage) error {
		fault = setClaim(c, name, value)
		return fault
	})
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, fmt.Errorf("%w %w", errAnswer, err)
	}
	if c.Subject == "" {
		return nil, fmt.Errorf("%w has no sub; answer 401 for a stranger", errAnswer)
	}
	return c, nil
}

func setClaim(c *wsticket.Claims, name string, value json.RawMessage) error {
	texts := map[string]*string{"sub": &c.Subject, "sid": &c.SessionID, "scope": &c.Scope, "iss": &c.Issuer,
		"origin": &c.Origin, "path": &c.Path, "ip": &c.IP}
	if text := texts[name]; text != nil {
		if value[0] != '"' || json.Unmarshal(value, text) != nil {
			return fmt.Errorf("%w: %s is not a string", errAnswer, name)
		}
		if strings.ContainsRune(*text, utf8.RuneError) {
			return fmt.Errorf("%w: %s has half of a character in it, or U+FFFD, which stands for one", errAnswer, name)
		}
		if *text == "" {
			return fmt.Errorf("%w: %s is empty; leave it out", errAnswer, name)
		}
		return nil
	}
	switch name {
	case "aud":
		if value[0] == '"' {
			c.Audiences = make([]string, 1)
			json.Unmarshal(value, &c.Audiences[0])
		} else if json.Unmarshal(value, &c.Audiences) != nil || len(c.Audiences) == 0 {
			return fmt.Errorf("%w: aud is neither a string nor a list of strings", errAnswer)
		}
		if slices.ContainsFunc(c.Audiences, func(a string) bool { return strings.ContainsRune(a, utf8.RuneError) }) {
			return fmt.Errorf("%w: aud has half of a character in it, or U+FFFD, which stands for one", errAnswer)
		}
	case "session_exp":
		seconds, err := wholeSeconds(value)
		if err != nil {
			return fmt.Errorf("%w: session_exp %w", errAnswer, err)
		}
		c.SessionExpires = time.Unix(seconds, 0)
	case "jti", "iat", "exp", "nbf":
		return fmt.Errorf("%w has %s, which the gateway sets; leave it out", errAnswer, name)
	default:
		// Backends whose JSON package folds case would take it for the other.
		for _, ours := range []string{"sub", "sid", "scope", "iss", "origin", "path", "ip", "aud", "session_exp", "jti", "iat", "exp", "nbf"} {
			if strings.EqualFold(name, ours) {
				return fmt.Errorf("%w has %.32q, which could be taken for %s; write it so, or leave it out", errAnswer, name, ours)
			}
		}
		c.Extra = append(c.Extra, wsticket.Member{Name: name, JSON: value})
	}
	return nil
}

// wholeSeconds reads a time of the ticket format.
func wholeSeconds(value json.RawMessage) (int64, error) {
	var seconds int64
	if strings.Trim(string(value), "0123456789") != "" || len(value) > 12 || json.Unmarshal(value, &seconds) != nil {
		return 0, errors.New("is not an integer of seconds since 1970 (milliseconds?)")
	}
	return seconds, nil
}
