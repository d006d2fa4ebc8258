package wsticket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

type panics struct{}

func (*panics) Error() string { panic("no text") }

type secretText []byte

func TestSlogReplace(t *testing.T) {
	T := newGateKit(t).mint(t)
	target, err := url.Parse("/ws?ticket=" + T)
	if err != nil {
		t.Fatal(err)
	}
	for format, handler := range map[string]func(*bytes.Buffer, *slog.HandlerOptions) slog.Handler{
		"json": func(b *bytes.Buffer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(b, o) },
		"text": func(b *bytes.Buffer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(b, o) },
	} {
		var out bytes.Buffer
		logger := slog.New(handler(&out, &slog.HandlerOptions{ReplaceAttr: SlogReplace, AddSource: true}))
		for name, args := range map[string][]any{
			"string":          {"url", "wss://h/ws?ticket=" + T + "&a=kept"},
			"protocol":        {"x", "app.v1, ticket." + T},
			"bearer":          {"x", "Bearer " + T},
			"escaped":         {"x", strings.ReplaceAll(T, ".", "%2e")},
			"two":             {"x", T + " and " + T},
			"key":             {T, 1},
			"error":           {"err", fmt.Errorf("dial ws://h/?ticket=%s: refused", T)},
			"joined":          {"err", errors.Join(errors.New("kept"), errors.New(T))},
			"bytes":           {"x", []byte(T)},
			"bytes of a type": {"x", secretText(T)},
			"raw, no JSON":    {"x", json.RawMessage("no JSON: " + T)},
			"url":             {"x", target},
			"url as a value":  {"x", *target},
			"header":          {"x", http.Header{"Cookie": {"__Host-ws-ticket=" + T}}},
			"request":         {"x", &http.Request{URL: target, RequestURI: target.String()}},
			"map":             {"x", map[string]any{"deep": []string{T}}},
			"group":           {slog.Group("g", "x", T, slog.Group("h", "y", T))},
			"struct":          {"x", struct{ A, B string }{"a", T}},
		} {
			out.Reset()
			logger.Info("message with "+T, args...)
			logger.With(args...).WithGroup("g").Info("again")
			line := out.String()
			for _, part := range strings.Split(T, ".") {
				if strings.Contains(line, part) {
					t.Errorf("%s, %s: %s", format, name, line)
				}
			}
			if strings.Count(line, redacted) < 3 {
				t.Errorf("%s, %s: nothing says that something was redacted: %s", format, name, line)
			}
		}
		// What has no ticket in it is as it was.
		plain := []any{"a", 1, "b", "text", "c", 1.5, "d", time.Unix(0, 0), "e", errors.New("x"), "f", map[string]int{"a": 1}, "g", []byte("b"), "h", nil, "i", &panics{}, "j", (*panics)(nil)}
		var with, without bytes.Buffer
		slog.New(handler(&with, &slog.HandlerOptions{ReplaceAttr: SlogReplace})).Info("m", plain...)
		slog.New(handler(&without, nil)).Info("m", plain...)
		when := regexp.MustCompile(`^(time=\S+|\{"time":"[^"]+")`)
		if got, want := when.ReplaceAllString(with.String(), ""), when.ReplaceAllString(without.String(), ""); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                       "",
		T:                                        "redacted",
		"x." + T:                                 "x.redacted",
		T + ". And so on.":                       "redacted. And so on.",
		T[:len(T)-40]:                            T[:len(T)-40], // the MAC is cut: it lets nobody in
		T[:len(T)-22]:                            T[:len(T)-22],
		T[:len(T)-21]:                            "redacted",  // nor this, but it looks like one
		T[:len(T)-1] + "…":                       "redacted…", // one of sixteen letters is missing
		T + "." + T:                              "redacted",
		"a." + strings.Repeat("b", 70) + "." + T: "a.redacted",
		"ticket=" + T + "&b":                     "ticket=redacted&b",
		strings.Repeat("long/", 40):              strings.Repeat("long/", 40),
	} {
		if got, _ := redactTickets(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzRedactTickets(f *testing.F) {
	T := newGateKit(f).mint(f)
	f.Add("wss://h/?ticket=", "&x")
	f.Add(strings.Repeat("a", 70)+".", ".b")
	f.Add("%2", "E")
	f.Fuzz(func(t *testing.T, before, after string) {
		got, some := redactTickets(before + T + after)
		if !some || strings.Contains(got, T[len(T)-43:]) {
			t.Fatalf("%q", got)
		}
		if again, some := redactTickets(got); some && strings.Contains(again, T) {
			t.Fatalf("%q", again)
		}
	})
}
