package prommetrics

import (
	"testing"

	"github.com/wsticket/wsticket/wstickettest/notickets"
)

func TestMain(m *testing.M) { notickets.Main(m) }
