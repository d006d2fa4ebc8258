// Package redisguard is a [wsticket.ReplayGuard] on Redis or Valkey: all nodes that
// share the store take a ticket once, whatever the store loses. NewBus, beside it,
// tells all nodes when a session ends.
//
// A claim costs one round trip; claims that wait at the same time share one. The guard
// refuses while the store is away. For which guard to take, for the limit of this one
// (a partition in which an old primary and a new one are both alive), and for what the
// store has to be set up with, see docs/many-nodes.md.
//
// # Why no ticket passes twice
//
// A claim sets a key that is not there yet, in one script call together with three
// checks. The store forgets keys: when it restarts empty or from a file that lacks the
// end, when a replica takes over that had not got them yet, when somebody empties it,
// when it evicts, when its clock was ahead. So it keeps an epoch, the time since when it
// remembers every claim, and the script
//
//  1. makes a new epoch begin, now, where the store has none, or has one of another
//     replication history than its own (a new one begins with every process and every
//     promotion), or its clock is behind what it was;
//  2. refuses a ticket that was issued before the epoch, by all that clocks may differ;
//  3. refuses where the clocks of node and store are too far apart for 2 to be sound.
//
// Checks and claim are one step on one process. So there is no moment at which a
// process that has not been checked could take a claim.
package redisguard
