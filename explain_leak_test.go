package wsticket

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// shows says which piece of a secret a text has that is not in the words that every
// refusal of its kind has.
func shows(text, words, secret string) string {
	const piece = 12
	for i := 0; i+piece <= len(secret); i++ {
		if p := secret[i : i+piece]; strings.Contains(text, p) && !strings.Contains(words, p) {
			return p
		}
	}
	return ""
}

// checkTexts looks through every text that a request makes: it shows no piece of the
// ticket, of its MAC or of a key, it is one line, and it is short.
func checkTexts(t *testing.T, v *Verifier, now time.Time, r Request, secrets ...string) {
	t.Helper()
	secrets = append(secrets, string(r.Ticket))
	_, tag, _ := strings.Cut(string(r.Ticket), ".")
	if _, tag, _ = strings.Cut(tag, "."); tag != "" {
		if raw, err := base64.RawURLEncoding.DecodeString(tag); err == nil {
			secrets = append(secrets, string(raw), hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw))
		}
	}
	var ticket Ticket
	brief := v.PeekAt(now, r, &ticket)
	if brief == nil {
		return
	}
	d := details{err: brief, verifier: v, policy: &policy{carriers: 3, listed: []string{"https://app.example"}}, now: now.Unix(), request: r, host: r.Origin, ticket: new(Ticket)}
	texts := []string{brief.Error(), v.ExplainAt(now, r, &ticket).Error()}
	if err := v.ExplainUnboundAt(now, r.Ticket, &ticket); err != nil {
		texts = append(texts, err.Error())
	}
	for _, err := range []error{v.judge(now.Unix(), &r, d.ticket), errOtherHost, errUnlisted, errCookieOrigin, ErrMissing} {
		d.err = err
		refusal := d.refusal(codeOf(err), nil)
		texts = append(texts, refusal.Err.Error())
		if err == brief { // with a jti and a sub, which may be anything
			refusal.ID, refusal.Subject = nil, nil
			texts = append(texts, refusal.LogValue().String())
		}
	}
	for _, text := range texts {
		for _, secret := range secrets {
			if p := shows(text, brief.Error()+"wsticket.Request", secret); p != "" {
				t.Fatalf("%q shows %q of %q", text, p, secret)
			}
		}
		for _, c := range text {
			if !unicode.IsGraphic(c) || c == '\u2028' || c == '\u2029' {
				t.Fatalf("%q has %U in it", text, c)
			}
		}
		if !utf8.ValidString(text) || len(text) > 1024 {
			t.Fatalf("%d bytes: %q", len(text), text)
		}
	}
}

func TestVectorsShowNoSecret(t *testing.T) {
	n := 0
	for name, f := range readVectors(t) {
		if f.one(t, "kind") != "ticket" {
			continue
		}
		v, _, r, now := ticketVector(t, f)
		var set struct{ Keys []struct{ K string } }
		if err := json.Unmarshal([]byte(f.one(t, "keyring")), &set); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var secrets []string
		for _, k := range set.Keys {
			raw, err := base64.RawURLEncoding.DecodeString(k.K)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			secrets = append(secrets, k.K, string(raw), hex.EncodeToString(raw))
		}
		checkTexts(t, v, now, r, secrets...)
		// The same where the ticket has also got into what is quoted.
		r.Origin, r.Path = append([]byte("https://"), r.Ticket...), append([]byte("/"), r.Ticket...)
		checkTexts(t, v, now, r, secrets...)
		n++
	}
	if n < 300 {
		t.Errorf("%d vectors", n)
	}
}

func TestExplainedShowsNoSecret(t *testing.T) {
	for _, c := range explainedCases() {
		r := Request{Ticket: []byte(c.ticket)}
		if c.alter != nil {
			c.alter(&r)
		}
		checkTexts(t, testVerifier(t, c.config), testNow.Add(c.at), r, testSecret)
	}
}

func FuzzExplainShowsNoSecret(f *testing.F) {
	f.Add(testHeader, fullPayload, "https://a.example", "/rooms/1", 3)
	f.Add(`{"alg":"HS256","kid":"k1","typ":"TICKET"}`, `{"jti":"TICKET","iat":1,"exp":"TICKET"}`, "TICKET", "/TICKET", 0)
	f.Add(`{"alg":"HS256","kid":"k1","TICKET":"x"}`, `{"jti":"n","iat":1795219200,"exp":1795219210,"origin":"`+testSecret[3:20]+`"}`, "x", "/", -20)
	f.Add("{\"alg\":\"HS256\",\"kid\":\"k1\",\"typ\":\"\xff\u202e\"}", `{"path":"x"}`, "\x1b[2J", "\u2028", 0)
	f.Fuzz(func(t *testing.T, header, payload, origin, path string, cut int) {
		inner := string(forge(header, payload))
		text := inner
		// One that quotes the other, as far as a text can: a ticket cannot hold itself.
		if strings.Contains(payload, "TICKET") {
			text = string(forge(header, strings.ReplaceAll(payload, "TICKET", inner)))
		}
		if cut > 0 && cut < len(text) {
			text = text[:cut]
		} else if cut < 0 && -cut < len(text) {
			text = text[-cut:]
		}
		v, err := NewVerifier(VerifierConfig{Keys: testKeyring(t), Replay: DangerouslyAllowReplay, Audiences: []string{"a"}, Issuers: []string{"mint"}})
		if err != nil {
			t.Fatal(err)
		}
		r := Request{Ticket: []byte(text), Origin: []byte(strings.ReplaceAll(origin, "TICKET", text)), Path: []byte(strings.ReplaceAll(path, "TICKET", text)),
			Addr: netip.MustParseAddr("192.0.2.1")}
		checkTexts(t, v, testNow, r)
	})
}

// The words of a refusal are made late, so until then it holds the request: no verb of
// fmt shows it.
func TestRefusalsPrintNoTicket(t *testing.T) {
	for name, refuse := range map[string]func(d *door, head string, look func(Refusal)){
		"Upgrader": func(d *door, head string, look func(Refusal)) {
			d.Upgrader.config.OnRefuse = look
			d.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake))
		},
		"Gate": func(d *door, head string, look func(Refusal)) {
			newGate(t, d, func(c *GateConfig) { c.OnRefuse = func(_ *http.Request, r Refusal) { look(r) } }).Redeem(parsed(head))
		},
		"Hooks": func(d *door, head string, look func(Refusal)) {
			newHooks(t, d, func(c *HooksConfig) { c.OnRefuse = look }).Upgrade(context.Background(), newMemConn([]byte(strings.Replace(head, "keep-alive, Upgrade", "Upgrade", 1))), new(Ticket))
		},
	} {
		d := newDoor(t, nil)
		ticket := d.ticket(t, Claims{Path: "/elsewhere"})
		looked := false
		refuse(d, request("/?ticket="+ticket), func(r Refusal) {
			looked = true
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p", "%T"} {
				for _, value := range []any{r, &r, r.Err, &r.Err, []error{r.Err}, r.Clone(), r.Clone().Err, errors.Unwrap(r.Err), fmt.Errorf("more: %w", r.Err)} {
					text := fmt.Sprintf(verb, value)
					for _, piece := range []string{ticket[:20], hex.EncodeToString([]byte(ticket[:20])), strings.Trim(fmt.Sprint([]byte(ticket[:20])), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(ticket[:20])), "[]byte{"), "}")} {
						if strings.Contains(text, piece) {
							t.Errorf("%s: %s of a %T: %.300s", name, verb, value, text)
						}
					}
				}
			}
		})
		if !looked {
			t.Errorf("%s: nothing was refused", name)
		}
	}
}
