// Package live ends WebSocket connections with the sessions they were opened in.
//
// A ticket lets a client in once and is gone; the connection that it opened may
// stay for hours. A [Registry] knows the live ones by session and by subject. It
// ends each at its ticket's session_exp, and those of a session, of a subject or
// all of them when it is told to, on this node or, by a [Bus], on all. A ticket
// of an ended session that is still unspent is refused.
package live
