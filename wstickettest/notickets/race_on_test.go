//go:build race

package notickets_test

const raceEnabled = true
