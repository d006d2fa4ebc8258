// Package rendezvous picks a node for a key such that everybody who knows the same
// nodes picks the same one, and a node that comes or goes moves its own keys only
// (highest random weight, Thaler and Ravishankar 1998).
//
// A minter that names the node in a ticket's audience needs it: see
// wsticket.VerifierConfig.SoleAudience and docs/many-nodes.md. The rule is simple enough
// for any language, and vectors.txt beside this file has test vectors:
//
//	the node with the greatest SHA-256(node || 0x00 || key), compared as bytes
package rendezvous

import (
	"bytes"
	"crypto/sha256"
)

// Pick returns the node for a key, such as a subject or a session; "" where there are no
// nodes. The order of nodes means nothing. To pass over a node that is down, leave it out:
// the keys of the others stay where they are.
//
// It hashes once for each node. A node's name has no NUL byte.
func Pick(key string, nodes []string) string {
	var best string
	var most [sha256.Size]byte
	var buf [128]byte
	for i, node := range nodes {
		text := append(append(append(buf[:0], node...), 0), key...)
		if weight := sha256.Sum256(text); i == 0 || bytes.Compare(weight[:], most[:]) > 0 {
			best, most = node, weight
		}
	}
	return best
}
