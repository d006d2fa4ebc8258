// Package integrations shows wsticket with the servers and WebSocket libraries that
// people have. Each file is one of them, and docs/integrations.md is made from these.
package integrations
