// Package wsticket authenticates WebSocket connections with tickets: short-lived,
// signed, good for one handshake.
//
// A browser cannot set headers on a WebSocket. So the application server, which
// knows its user, signs a ticket ([Signer], [MintHandler]); the page opens
// wss://gateway/…?ticket=…; and the gateway checks signature, expiry, bindings
// and single use during the handshake ([Upgrader] on raw connections, [Gate] on
// net/http, [Verifier] by hand), with no database, no cache server and no call to
// anyone. What they share is a [Keyring].
//
// # Promises
//
//  1. A ticket is accepted at most once per [ReplayCache], under any concurrency,
//     any load and any step of a running clock, and across a restart, orderly or
//     not, whose clock is not behind the last accept. What cannot be remembered is
//     refused. A process that replaces another creates its cache after the other
//     stopped accepting.
//  2. With ReplayCache and on the raw path there is no allocation from the
//     connection's bytes to the verified ticket, accepting or refusing.
//  3. Memory is bounded and set in advance. Load beyond twice the peak that was
//     sized for raises false refusals by a published table, never an acceptance.
//  4. Strangers cannot fill, evict or burn anything: nothing is recorded before
//     the MAC, and all else about the ticket, was found right.
//  5. Any JOSE library can mint a ticket, and a node needs only the keyring file.
//  6. Keys, keyrings, tickets and handshakes redact themselves in fmt, slog and
//     JSON. The signed string is a credential and prints as one; [RedactURL] takes
//     it out of what goes into a log.
//
// # Errors
//
// Every refusal is an [Error]: a code, comparable, found with errors.Is or
// [CodeOf]. The client learns the [Class] of a refusal and nothing else.
package wsticket
