package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/wsticket/wsticket/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

func TestGateway(t *testing.T) { exampletest.Run(t, "/any/path", true) }

func TestNoKeyring(t *testing.T) {
	if err := run(context.Background(), "127.0.0.1:0", filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("it runs without a keyring")
	}
}
