//go:build !race

package wsticket

const raceEnabled = false
