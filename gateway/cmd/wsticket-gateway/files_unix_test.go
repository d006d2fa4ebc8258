//go:build unix

package main

import (
	"math"
	"syscall"
	"testing"
)

// mostFiles is how many files and connections a process may ask to have open.
func mostFiles(t *testing.T) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(uint64(limit.Max), math.MaxInt32))
}
