package main

import (
	"testing"

	"github.com/wsticket/wsticket/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

func TestGateway(t *testing.T) { exampletest.Run(t, "/any/path", true) }
