//go:build race

package wsticket

const raceEnabled = true
