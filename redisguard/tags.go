package redisguard

import "strconv"

// clusterLanes is how many hash slots of a Cluster the claims go to. Every node must
// use as many.
const clusterLanes = 64

// laneTags are hash tags, one for each lane, whose slots lie at even distances: however a
// Cluster is cut into ranges of slots, each primary gets its share.
var laneTags = func() (tags [clusterLanes]string) {
	const width = clusterSlots / clusterLanes
	missing := clusterLanes
	for n := 0; missing > 0; n++ {
		tag := strconv.Itoa(n)
		if i := clusterSlot(tag) / width; tags[i] == "" {
			tags[i] = tag
			missing--
		}
	}
	return tags
}()

const clusterSlots = 16384

// clusterSlot is the hash slot of a tag: CRC-16/XMODEM, as the specification of Redis
// Cluster has it.
func clusterSlot(tag string) int {
	crc := uint16(0)
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % clusterSlots
}
