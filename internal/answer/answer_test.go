package answer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
)

const common = "Cache-Control: no-store\r\nContent-Type: application/problem+json\r\n"

var golden = map[int]string{
	400: "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"bad_request","status":400}`,
	401: "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nConnection: close\r\n" + common + "Content-Length: 38\r\n\r\n" + `{"type":"invalid_ticket","status":401}`,
	403: "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n" + common + "Content-Length: 33\r\n\r\n" + `{"type":"forbidden","status":403}`,
	405: "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"bad_request","status":405}`,
	408: "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"unavailable","status":408}`,
	426: "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\nSec-WebSocket-Version: 13\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"bad_request","status":426}`,
	431: "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"bad_request","status":431}`,
	500: "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"unavailable","status":500}`,
	503: "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"unavailable","status":503}`,
	505: "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n" + common + "Content-Length: 35\r\n\r\n" + `{"type":"bad_request","status":505}`,
}

func TestGolden(t *testing.T) {
	if len(golden) != len(answers) {
		t.Errorf("%d answers, %d golden ones", len(answers), len(golden))
	}
	for status, want := range golden {
		if got := string(Of(status).Bytes()); got != want {
			t.Errorf("%d:\n%q, want\n%q", status, got, want)
		}
	}
	if Of(502) != Of(503) {
		t.Error("a status of none of the codes is not answered as unavailable")
	}
}

func TestHealthy(t *testing.T) {
	const want = "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nok\n"
	if got := string(Healthy().Bytes()); got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
}

// What net/http reads from the bytes is what Write makes it send.
func TestWrite(t *testing.T) {
	for status := range golden {
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(Of(status).Bytes())), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		var p struct {
			Type   string
			Status int
		}
		if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Type == "" {
			t.Errorf("%d: the body is %s", status, body)
		}
		w := httptest.NewRecorder()
		Of(status).Write(w, &http.Request{ProtoMajor: 1})
		// ReadResponse takes the connection's option out of the headers.
		got := w.Result().Header
		if w.Code != status || w.Body.String() != string(body) || got.Get("Connection") == "" {
			t.Errorf("%d: wrote %d %v %s", status, w.Code, got, w.Body)
		}
		res.Header.Set("Connection", got.Get("Connection"))
		if !reflect.DeepEqual(got, res.Header) {
			t.Errorf("%d: headers %v, on the wire %v", status, got, res.Header)
		}
		w = httptest.NewRecorder()
		Of(status).Write(w, &http.Request{ProtoMajor: 2})
		if h := w.Result().Header; h.Get("Connection") != "" || h.Get("Upgrade") != "" || w.Code != status {
			t.Errorf("%d: HTTP/2 gets %v", status, h)
		}
	}
}
