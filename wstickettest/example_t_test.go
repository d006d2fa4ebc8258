package wstickettest_test

import (
	"fmt"
	"testing"
)

// t stands for that of the test that an example is in the middle of.
var t testing.TB = noTest{}

type noTest struct{ testing.TB }

func (noTest) Helper()           {}
func (noTest) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
