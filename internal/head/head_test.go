package head

import (
	"fmt"
	"strings"
	"testing"
)

const chrome = "GET /chat?room=7 HTTP/1.1\r\n" +
	"Host: gateway.example\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: https://app.example\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9\r\n" +
	"Cookie: theme=dark; lang=en\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

const firefox = "GET / HTTP/1.1\r\n" +
	"Host: gateway.example:8443\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: */*\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Origin: https://app.example\r\n" +
	"Sec-WebSocket-Protocol: app.v1\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate\r\n" +
	"Sec-WebSocket-Key: 8OqJ9yXv1o0J6PzL5K3ZYg==\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Sec-Fetch-Dest: empty\r\n" +
	"Sec-Fetch-Mode: websocket\r\n" +
	"Sec-Fetch-Site: cross-site\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"Upgrade: websocket\r\n" +
	"\r\n"

const safari = "GET /ws HTTP/1.1\r\n" +
	"Host: gateway.example\r\n" +
	"Sec-WebSocket-Key: sB4lKWt3cIyUZ2mzIhZVwA==\r\n" +
	"Sec-Fetch-Site: same-site\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Upgrade: websocket\r\n" +
	"Sec-Fetch-Mode: websocket\r\n" +
	"Origin: https://gateway.example\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate\r\n" +
	"Connection: Upgrade\r\n" +
	"\r\n"

const plain = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// with is plain with a line replaced, or lines added before its end.
func with(old, repl string) string {
	if old == "" {
		return strings.TrimSuffix(plain, "\r\n") + repl + "\r\n"
	}
	if !strings.Contains(plain, old) {
		panic("no " + old)
	}
	return strings.Replace(plain, old, repl, 1)
}

func fields(n int) string { // added to plain's five
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: %d\r\n", i, i)
	}
	return b.String()
}

// scanAll scans in the pieces that cut names, and reports the End of a head that
// is complete.
func scanAll(h *Head, buf []byte, cuts ...int) bool {
	h.Reset(64)
	for _, c := range cuts {
		if h.Scan(buf[:c]) {
			return true
		}
	}
	return h.Scan(buf)
}

func TestScan(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Fault
	}{
		"Chrome":              {chrome, NoFault},
		"Firefox":             {firefox, NoFault},
		"Safari":              {safari, NoFault},
		"plain":               {plain, NoFault},
		"lower-case names":    {strings.NewReplacer("Host", "host", "Upgrade:", "upgrade:", "Connection", "connection", "Sec-WebSocket", "sec-websocket").Replace(plain), NoFault},
		"upper-case names":    {strings.NewReplacer("Host", "HOST", "Upgrade:", "UPGRADE:", "Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY").Replace(plain), NoFault},
		"no space after ':'":  {strings.ReplaceAll(plain, ": ", ":"), NoFault},
		"white space around":  {strings.NewReplacer(": ", ": \t ", "\r\nUpgrade", " \t\r\nUpgrade").Replace(plain), NoFault},
		"WebSocket":           {with("websocket", "WebSocket"), NoFault},
		"two Connection":      {with("", "Connection: keep-alive\r\n"), NoFault},
		"Connection tokens":   {with("Connection: Upgrade", "Connection: keep-alive , , UPGRADE,x"), NoFault},
		"tab in a value":      {with("", "A: b\tc\r\n"), NoFault},
		"empty value":         {with("", "A:\r\n"), NoFault},
		"bytes over 0x7f":     {with("", "A: \x80\xff\r\n"), NoFault},
		"64 fields":           {with("", fields(59)), NoFault},
		"escapes in the path": {with("/ ", "/%41%2f%zz"[:7]+" "), NoFault},
		"% in the query":      {with("/ ", "/?%zz "), NoFault},
		"?? in the target":    {with("/ ", "/?a?b "), NoFault},
		"//":                  {with("/ ", "//a/b "), NoFault},
		"odd letters":         {with("/ ", "/a|b\\c^`{}\"<> "), NoFault},
		"Content-Length: 0":   {with("", "Content-Length: 0\r\n"), NoFault},
		"absolute-form":       {with("/ ", "http://h/a?b "), NoFault},
		"absolute, https":     {with("/ ", "https://h/ "), NoFault},
		"absolute, HTTP":      {with("/ ", "HTTP://h/ "), NoFault},
		"absolute, no path":   {with("/ ", "http://h "), NoFault},
		"absolute, query":     {with("/ ", "http://h?a/b "), NoFault},
		"absolute, a port":    {strings.Replace(with("/ ", "http://h:80/ "), "Host: h", "Host: h:80", 1), NoFault},

		"no request line":        {"\r\n" + plain, BadRequestLine},
		"only LF":                {strings.ReplaceAll(plain, "\r\n", "\n"), BadRequestLine},
		"one lone LF":            {with("Host: h\r\n", "Host: h\n"), BadHeaderLine},
		"the last LF lone":       {plain[:len(plain)-2] + "\n", BadHeaderLine},
		"bare CR":                {with("", "A: b\rc\r\n"), BadHeaderLine},
		"CR CR LF":               {with("", "A: b\r\r\n"), BadHeaderLine},
		"a control before LF":    {with("", "A: b\x01\n"), BadHeaderLine},
		"a short line, lone LF":  {with("", "abc\r\nx\n"), BadHeaderLine},
		"NUL in a value":         {with("", "A: b\x00c\r\n"), BadHeaderLine},
		"DEL in a value":         {with("", "A: b\x7fc\r\n"), BadHeaderLine},
		"folded":                 {with("", "A: b\r\n c\r\n"), BadHeaderLine},
		"folded by a tab":        {with("", "A: b\r\n\tc: d\r\n"), BadHeaderLine},
		"injected by a fold":     {with("", " Cookie: injected\r\n"), BadHeaderLine},
		"space before the colon": {with("Host:", "Host :"), BadHeaderLine},
		"no name":                {with("", ": a\r\n"), BadHeaderLine},
		"no colon":               {with("", "abc\r\n"), BadHeaderLine},
		"a control in a name":    {with("", "A\x01: a\r\n"), BadHeaderLine},
		"over 0x7f in a name":    {with("", "\xc3\xa4: a\r\n"), BadHeaderLine},
		"a '@' in a name":        {with("", "a@b: a\r\n"), BadHeaderLine},

		"two Host":              {with("", "Host: h\r\n"), TwiceHost},
		"two Host, one in caps": {with("", "HOST: i\r\n"), TwiceHost},
		"no Host":               {with("Host: h\r\n", ""), NoHost},
		"empty Host":            {with("Host: h", "Host: "), BadHost},
		"a space in Host":       {with("Host: h", "Host: h i"), BadHost},
		"a slash in Host":       {with("Host: h", "Host: h/i"), BadHost},
		"a user in Host":        {with("Host: h", "Host: u@h"), BadHost},
		"two keys":              {with("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), TwiceKey},
		"no key":                {with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), NoKey},
		"key no base64":         {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZS!ub25jZQ=="), BadKey},
		"key of 24 letters":     {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQAA"), BadKey},
		"key base64url":         {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZS-_b25jZQ=="), BadKey},
		"key not canonical":     {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR=="), BadKey},
		"key too short":         {with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), BadKey},
		"empty key":             {with("dGhlIHNhbXBsZSBub25jZQ==", ""), BadKey},
		"version 8":             {with(": 13", ": 8"), NotVersion13},
		"version 013":           {with(": 13", ": 013"), NotVersion13},
		"version 13, 8":         {with(": 13", ": 13, 8"), NotVersion13},
		"no version":            {with("Sec-WebSocket-Version: 13\r\n", ""), NotVersion13},
		"two versions":          {with("", "Sec-WebSocket-Version: 13\r\n"), TwiceVersion},
		"no Upgrade":            {with("Upgrade: websocket\r\n", ""), NotWebSocket},
		"Upgrade: h2c":          {with("websocket", "h2c"), NotWebSocket},
		"Upgrade with another":  {with("websocket", "websocket, h2c"), NotWebSocket},
		"two Upgrade":           {with("", "Upgrade: websocket\r\n"), TwiceUpgrade},
		"no Connection":         {with("Connection: Upgrade\r\n", ""), NoConnectionUpgrade},
		"keep-alive":            {with("Connection: Upgrade", "Connection: keep-alive"), NoConnectionUpgrade},
		"Connection: upgraded":  {with("Connection: Upgrade", "Connection: upgraded, xupgrade"), NoConnectionUpgrade},
		"Connection, quoted":    {with("Connection: Upgrade", "Connection: \"x\", upgrade"), BadConnection},
		"Connection, a slash":   {with("Connection: Upgrade", "Connection: upgrade, a/b"), BadConnection},
		"Connection, no comma":  {with("Connection: Upgrade", "Connection: upgrade close"), BadConnection},
		"Connection, semicolon": {with("Connection: Upgrade", "Connection: upgrade; close"), BadConnection},
		"two Origin":            {with("", "Origin: https://h\r\nOrigin: https://h\r\n"), TwiceOrigin},
		"Content-Length: 1":     {with("", "Content-Length: 1\r\n"), HasBody},
		"Content-Length: 00":    {with("", "Content-Length: 00\r\n"), HasBody},
		"Content-Length: +0":    {with("", "Content-Length: +0\r\n"), HasBody},
		"Content-Length: 0, 0":  {with("", "Content-Length: 0, 0\r\n"), HasBody},
		"Content-Length: 0x0":   {with("", "Content-Length: 0x0\r\n"), HasBody},
		"Content-Length empty":  {with("", "Content-Length:\r\n"), HasBody},
		"two Content-Length":    {with("", "Content-Length: 0\r\nContent-Length: 0\r\n"), HasBody},
		"identity":              {with("", "Transfer-Encoding: identity\r\n"), HasBody},
		"Transfer-Encoding":     {with("", "transfer-encoding: chunked\r\n"), HasBody},
		"65 fields":             {with("", fields(60)), TooManyFields},

		"empty target":            {with("/ ", " "), BadRequestLine},
		"no target":               {with("GET / ", "GET "), BadRequestLine},
		"two spaces":              {with("GET /", "GET  /"), BadRequestLine},
		"NUL in the target":       {with("/ ", "/\x00 "), BadRequestLine},
		"0x80 in the target":      {with("/ ", "/\x80aaaaaaaaaaaaaaaaaaaaaaaaa "), BadRequestLine},
		"fragment":                {with("/ ", "/a#b "), BadRequestLine},
		"*":                       {with("/ ", "* "), BadTarget},
		"absolute, h2":            {with("/ ", "http://h2/ "), OtherHost},
		"absolute, H":             {with("/ ", "http://H/ "), OtherHost},
		"absolute, port":          {with("/ ", "http://h:80/ "), OtherHost},
		"absolute, user":          {with("/ ", "http://u@h/ "), OtherHost},
		"absolute, user 2":        {with("/ ", "http://h@i/ "), OtherHost},
		"absolute, escape":        {strings.Replace(with("/ ", "http://%68/ "), "Host: h", "Host: %68", 1), BadTarget},
		"absolute, longer":        {with("/ ", "http://h.evil/ "), OtherHost},
		"absolute, backslash":     {with("/ ", "http://h\\i/ "), OtherHost},
		"absolute, no host":       {with("/ ", "http:///h "), BadTarget},
		"absolute, no host 2":     {with("/ ", "http://?h "), BadTarget},
		"absolute, nothing":       {with("/ ", "http:// "), BadTarget},
		"absolute, ws":            {with("/ ", "ws://h/ "), BadTarget},
		"absolute, wss":           {with("/ ", "wss://h/ "), BadTarget},
		"absolute, ftp":           {with("/ ", "ftp://h/ "), BadTarget},
		"absolute, http:/":        {with("/ ", "http:/h/ "), BadTarget},
		"absolute, httpsx":        {with("/ ", "httpsx://h/ "), BadTarget},
		"absolute, broken escape": {with("/ ", "http://h/%4g "), BadTarget},
		"no Host comes first":     {strings.Replace(with("/ ", "http://i/ "), "Host: h\r\n", "", 1), NoHost},
		"other host comes first":  {strings.Replace(with("/ ", "http://i/ "), "websocket", "h2c", 1), OtherHost},
		"authority-form":          {with("/ ", "h:80 "), BadTarget},
		"broken escape":           {with("/ ", "/%4 "), BadTarget},
		"broken escape 2":         {with("/ ", "/a%4g/ "), BadTarget},
		"broken escape 3":         {with("/ ", "/a%?b "), BadTarget},

		"HTTP/1.0":     {with("HTTP/1.1", "HTTP/1.0"), NotHTTP11},
		"HTTP/1.9":     {with("HTTP/1.1", "HTTP/1.9"), NotHTTP11},
		"HTTP/2.0":     {with("HTTP/1.1", "HTTP/2.0"), NotHTTP11},
		"HTTP/1.?":     {with("HTTP/1.1", "HTTP/1.?"), BadRequestLine},
		"HTTP/1.11":    {with("HTTP/1.1", "HTTP/1.11"), BadRequestLine},
		"HTTP/2":       {with("HTTP/1.1", "HTTP/2"), BadRequestLine},
		"http/1.1":     {with("HTTP/1.1", "http/1.1"), BadRequestLine},
		"huge major":   {with("HTTP/1.1", "HTTP/18446744073709551617.1"), BadRequestLine},
		"more behind":  {with("HTTP/1.1", "HTTP/1.1 "), BadRequestLine},
		"no version ":  {with(" HTTP/1.1", ""), BadRequestLine},
		"the preface":  {"PRI * HTTP/2.0\r\n\r\n", NotHTTP11},
		"POST":         {with("GET", "POST"), NotGET},
		"get":          {with("GET", "get"), NotGET},
		"OPTIONS *":    {with("GET /", "OPTIONS *"), NotGET},
		"POST, 1.0":    {strings.Replace(with("GET", "POST"), "1.1", "1.0", 1), NotHTTP11},
		"no method":    {with("GET ", " "), BadRequestLine},
		"odd method":   {with("GET", "G(T"), BadRequestLine},
		"a plain page": {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", NotWebSocket},

		"the first fault counts":   {with("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost "), NotHTTP11},
		"the first fault counts 2": {with("", "Host: h\r\n : \r\n"), TwiceHost},
	} {
		t.Run(name, func(t *testing.T) {
			var whole, h Head
			if !scanAll(&whole, []byte(c.in)) {
				t.Fatal("not complete")
			}
			if whole.Fault() != c.want {
				t.Fatalf("fault %v, want %v", whole.Fault(), c.want)
			}
			wantEnd := len(c.in)
			if c.in[0] == '\r' {
				wantEnd = 2
			}
			if whole.End != wantEnd {
				t.Fatalf("ends at %d, want %d", whole.End, wantEnd)
			}
			for cut := range len(c.in) {
				done := scanAll(&h, []byte(c.in), cut)
				if !done || h.Fault() != c.want || h.End != wantEnd || fmt.Sprint(h) != fmt.Sprint(whole) {
					t.Fatalf("cut at %d: done %v, fault %v, end %d; whole it was %v", cut, done, h.Fault(), h.End, whole)
				}
			}
			h.Reset(64)
			for n := 1; n <= wantEnd; n++ {
				if done := h.Scan([]byte(c.in)[:n]); done != (n == wantEnd) {
					t.Fatalf("byte by byte: done %v after %d of %d", done, n, wantEnd)
				}
			}
			if h.Fault() != c.want {
				t.Fatalf("byte by byte: fault %v, want %v", h.Fault(), c.want)
			}
		})
	}
}

func TestParts(t *testing.T) {
	in := []byte(strings.Replace(chrome, "\r\n\r\n", "\r\nX-Last:\r\n\r\nrest", 1))
	var h Head
	if !scanAll(&h, in) || h.Fault() != NoFault {
		t.Fatal(h.Fault())
	}
	for _, c := range []struct {
		what string
		got  Span
		want string
	}{
		{"path", h.Path, "/chat"},
		{"query", h.Query, "room=7"},
		{"host", h.Host, "gateway.example"},
		{"key", h.Key, "dGhlIHNhbXBsZSBub25jZQ=="},
		{"origin", h.Origin, "https://app.example"},
	} {
		if got := string(c.got.Of(in)); got != c.want {
			t.Errorf("%s is %q, want %q", c.what, got, c.want)
		}
	}
	if got := string(in[h.End:]); got != "rest" {
		t.Errorf("behind the head is %q", got)
	}
	if n := len(h.Fields); n != 14 {
		t.Fatalf("%d fields", n)
	}
	if f := h.Fields[10]; f.Kind != Cookie || string(f.Name.Of(in)) != "Cookie" || string(f.Value.Of(in)) != "theme=dark; lang=en" {
		t.Errorf("field 10 is %q: %q, kind %d", f.Name.Of(in), f.Value.Of(in), f.Kind)
	}
	if f := h.Fields[13]; string(f.Name.Of(in)) != "X-Last" || f.Value.Len() != 0 {
		t.Errorf("field 13 is %q: %q", f.Name.Of(in), f.Value.Of(in))
	}
	if !h.HasOrigin() || h.Has(Authorization) || !h.Has(Cookie) {
		t.Error("wrong about which headers came")
	}
	scanAll(&h, []byte(plain))
	if h.HasOrigin() || h.Has(Cookie) || len(h.Fields) != 5 {
		t.Error("Reset left something behind")
	}
}

// A target in absolute-form has the parts of one in origin-form.
func TestAbsoluteForm(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{
		{"http://h/", "/", ""}, {"https://h/a/b?c?d", "/a/b", "c?d"}, {"hTTps://h/a%20b", "/a%20b", ""},
		{"http://h", "/", ""}, {"http://h?", "/", ""}, {"https://h?a=/b", "/", "a=/b"}, {"http://h//x", "//x", ""},
	} {
		// In front of it lies what other connections have left: spans count from the start.
		in := []byte("xxxx" + with("/ ", c.target+" "))[4:]
		var h Head
		if !scanAll(&h, in) || h.Fault() != NoFault {
			t.Errorf("%s: %v", c.target, h.Fault())
			continue
		}
		if path, query := string(h.Path.Of(in)), string(h.Query.Of(in)); path != c.path || query != c.query {
			t.Errorf("%s: path %q, query %q", c.target, path, query)
		}
		got, ok := SplitTarget([]byte(c.target))
		if !ok || string(got.Authority) != "h" || string(got.Path) != c.path || string(got.Query) != c.query {
			t.Errorf("%s splits into %q, %q, %q", c.target, got.Authority, got.Path, got.Query)
		}
	}
	var h Head
	scanAll(&h, []byte(with("/ ", "http://h/ ")))
	if !scanAll(&h, []byte(strings.Replace(plain, "Host: h", "Host: i", 1))) || h.Fault() != NoFault {
		t.Errorf("Reset left the authority behind: %v", h.Fault())
	}
}

func TestIsPlainGET(t *testing.T) {
	page := func(lines string) string { return "GET /live HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n" }
	for name, c := range map[string]struct {
		in   string
		want bool
	}{
		"a probe":                {page(""), true},
		"with a query":           {"GET /live?x HTTP/1.1\r\nHost: h\r\n\r\n", true},
		"keep-alive":             {page("Connection: keep-alive\r\nUser-Agent: kube-probe/1.30\r\nAccept: */*\r\n"), true},
		"Upgrade: h2c":           {page("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), true},
		"HTTP/1.0":               {"GET /live HTTP/1.0\r\n\r\n", true},
		"HTTP/1.0 with a header": {"GET /live?x HTTP/1.0\r\nHost: h\r\n\r\n", true},
		"Content-Length: 0":      {page("Content-Length: 0\r\n"), true},
		"absolute-form":          {"GET http://h/live HTTP/1.1\r\nHost: h\r\n\r\n", true},
		"another path":           {strings.Replace(page(""), "/live", "/liver", 1), false},
		"a path below":           {strings.Replace(page(""), "/live", "/live/", 1), false},
		"escaped":                {strings.Replace(page(""), "/live", "/%6cive", 1), false},
		"a handshake":            {strings.Replace(plain, "/ ", "/live ", 1), false},
		"a bad handshake":        {strings.Replace(plain, "/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket", "/live HTTP/1.1\r\nHost: h\r\nUpgrade: websocket, h2c", 1), false},
		"no Connection":          {page("Upgrade: WebSocket\r\n"), false},
		"POST":                   {strings.Replace(page(""), "GET", "POST", 1), false},
		"HEAD":                   {strings.Replace(page(""), "GET", "HEAD", 1), false},
		"POST, HTTP/1.0":         {"POST /live HTTP/1.0\r\n\r\n", false},
		"HTTP/1.9":               {"GET /live HTTP/1.9\r\n\r\n", false},
		"HTTP/1.0, another path": {"GET /livel HTTP/1.0\r\n\r\n", false},
		"HTTP/1.0, no path":      {"GET * HTTP/1.0\r\n\r\n", false},
		"no Host":                {strings.Replace(page(""), "Host: h\r\n", "", 1), false},
		"a body":                 {page("Content-Length: 1\r\n"), false},
		"a bad line":             {page(" a: b\r\n"), false},
		"not complete":           {"GET /live HTTP/1.0\r\n", false},
	} {
		var h Head
		scanAll(&h, []byte(c.in))
		if got := h.IsPlainGET([]byte(c.in), "/live"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNoEnd(t *testing.T) {
	for _, in := range []string{
		"", "G", "GET / HTTP/1.1\r\n", plain[:len(plain)-1], plain[:len(plain)-2],
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", strings.Repeat("a", 9000), strings.Repeat("a\r\n", 3000),
	} {
		var h Head
		if scanAll(&h, []byte(in)) {
			t.Errorf("%.20q…: done", in)
		}
	}
}

func TestTooLongForSpans(t *testing.T) {
	var h Head
	long := []byte(with("", "A: "+strings.Repeat("a", MaxBytes)+"\r\n"))
	if !scanAll(&h, long) || h.Fault() != TooLong {
		t.Errorf("fault %v", h.Fault())
	}
}

// The work on a head must grow with its bytes and not with the number of reads:
// what was looked at for the end of a line is not looked at again.
func TestManyReads(t *testing.T) {
	in := []byte(with("", "A: "+strings.Repeat("a", 60000)+"\r\n"))
	for _, step := range []int{1, 7, 100} { // the last brings the end of a line and the start of the next
		var h Head
		h.Reset(64)
		for n := step; n < len(in); n += step {
			if h.Scan(in[:n]) {
				t.Fatal("done early")
			}
			if h.seen != n {
				t.Fatalf("of %d bytes it has seen %d", n, h.seen)
			}
		}
		if !h.Scan(in) || h.Fault() != NoFault {
			t.Error(h.Fault())
		}
	}
}

func TestFaultTable(t *testing.T) {
	for f := NoFault; f < NumFaults; f++ {
		if f.String() == "" || f.Status() == 0 {
			t.Errorf("fault %d has no text or no status", f)
		}
	}
}

func TestScanAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	in, bad := []byte(chrome), []byte(with("", fields(60)))
	var h Head
	h.Fields = make([]Field, 0, 64)
	out := make([]byte, 0, 256)
	sw := NewSwitching("app.v1", "")
	if n := testing.AllocsPerRun(100, func() {
		scanAll(&h, bad)
		scanAll(&h, in)
		out = sw.Append(out[:0], h.Key.Of(in))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkScan(b *testing.B) {
	for _, c := range []struct{ name, in string }{{"plain", plain}, {"chrome", chrome}} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			h := Head{Fields: make([]Field, 0, 64)}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if !scanAll(&h, in) || h.fault != NoFault {
					b.Fatal(h.fault)
				}
			}
		})
	}
}

func BenchmarkSwitching(b *testing.B) {
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	sw := NewSwitching("", "")
	out := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		out = sw.Append(out[:0], key)
	}
}
