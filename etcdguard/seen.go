package etcdguard

import (
	"encoding/binary"
	"sync"
)

// seen holds tickets that this node let in, so that a flood of replays does not reach
// the store. It is of a fixed size and forgets the ones that expire first; the store
// does not. It holds whole identities, so it never takes one ticket for another.
type seen struct {
	shards [seenShards]seenShard
}

const (
	seenShards = 16
	seenSets   = 1024 // a shard; with seenWays each that makes 65,536 tickets and 1.5 MiB
	seenWays   = 4
)

type seenShard struct {
	mu   sync.Mutex
	sets [][seenWays]ticketKey
	_    [32]byte // keeps the locks of two shards apart
}

func (s *seen) init() {
	for i := range s.shards {
		s.shards[i].sets = make([][seenWays]ticketKey, seenSets)
	}
}

// set picks a place by the identity, which is uniform.
func (s *seen) set(key ticketKey) (*seenShard, *[seenWays]ticketKey) {
	bits := binary.LittleEndian.Uint64(key.identity[:])
	shard := &s.shards[bits%seenShards]
	return shard, &shard.sets[bits/seenShards%seenSets]
}

func (s *seen) has(key ticketKey) bool {
	shard, set := s.set(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for _, k := range set {
		if k == key {
			return true
		}
	}
	return false
}

// add takes the place of the ticket that expires first.
func (s *seen) add(key ticketKey) {
	shard, set := s.set(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	first := 0
	for i := range set {
		if set[i].slot < set[first].slot {
			first = i
		}
	}
	set[first] = key
}
