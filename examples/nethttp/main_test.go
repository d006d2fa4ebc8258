package main

import (
	"testing"

	"github.com/wsticket/wsticket/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

func TestServer(t *testing.T) { exampletest.Run(t, "/ws", false) }
