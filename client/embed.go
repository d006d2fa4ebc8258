// Package client holds the page's side of wsticket, the ES module that is also the
// npm package @wsticket/client, for programs that serve it themselves:
//
//	mux.Handle("GET /wsticket.js", client.Handler())
//
// and in the page
//
//	import { connect } from "/wsticket.js"
//
// See docs/client.md for what it does.
package client

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// Script is the module, the same bytes that npm delivers as index.js.
//
//go:embed index.js
var Script string

// Handler serves the Script. Caches must ask whether it has changed, which they do
// by its ETag. It is safe for concurrent use.
func Handler() http.Handler {
	sum := sha256.Sum256([]byte(Script))
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/javascript; charset=utf-8")
		header.Set("Cache-Control", "no-cache")
		header.Set("ETag", tag)
		header.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(Script))
	})
}
