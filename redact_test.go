package wsticket

import "testing"

func TestRedactURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                                   "",
		"/ws":                                "/ws",
		"/ws?":                               "/ws?",
		"/ws?ticket=a.b.c":                   "/ws?ticket=redacted",
		"/?a#b&ticket=T":                     "/?a#b&ticket=redacted",
		"/a#ticket=T":                        "/a#ticket=redacted",
		"/a?b?ticket=T":                      "/a?b?ticket=redacted",
		"/a?b;ticket=T;c":                    "/a?b;ticket=redacted;c",
		"wss://h/ws?x=1&ticket=a.b.c&y=2#f":  "wss://h/ws?x=1&ticket=redacted&y=2#f",
		"/ws?ticket=a&ticket=b":              "/ws?ticket=redacted&ticket=redacted",
		"/ws?Ticket=a&%74icket=b&tick%65T=c": "/ws?Ticket=redacted&%74icket=redacted&tick%65T=redacted",
		"/ws?xticket=a&ticket2=b&ticket":     "/ws?xticket=a&ticket2=b&ticket",
		"/ws?ticket=a=b?c":                   "/ws?ticket=redacted?c",
		"/ticket=a?x":                        "/ticket=a?x",
	} {
		if got := RedactURL(url); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", url, got, want)
		}
	}
}
