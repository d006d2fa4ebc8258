package redisguard

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
)

// An outcome of Spend, to count by.
type outcome int

const (
	claimed outcome = iota
	claimedLocally
	replayed
	replayedHere
	early
	skewed
	timedOut
	left
	unreachable
	evicting
	outOfReach
	outcomes
)

// A spendError is a refusal with its cause. Its text is for logs.
type spendError struct {
	code    wsticket.Error
	outcome outcome
	text    string
	cause   error // or nil
}

func (e *spendError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%v: redisguard: %s: %v", e.code, e.text, e.cause)
	}
	return fmt.Sprintf("%v: redisguard: %s", e.code, e.text)
}

func (e *spendError) Unwrap() []error {
	if e.cause != nil {
		return []error{e.code, e.cause}
	}
	return []error{e.code}
}

var (
	errReplayedHere = &spendError{wsticket.ErrReplayed, replayedHere, "this node let it in, or was told that another did", nil}
	errTimeout      = &spendError{wsticket.ErrReplayUnavailable, timedOut, "the store did not answer in time", nil}
	errClosed       = &spendError{wsticket.ErrReplayUnavailable, unreachable, "the guard is closed", nil}
	errFull         = &spendError{wsticket.ErrReplayUnavailable, unreachable, "more than MaxPending claims wait for the store", nil}
	errSkew         = &spendError{wsticket.ErrReplayUnavailable, skewed, "this node's clock and the store's differ by more than MaxSkew; keep both in time, by NTP for instance", nil}
	errEvicting     = &spendError{wsticket.ErrReplayUnavailable, evicting, "the store may evict what it was told to remember; set maxmemory-policy to noeviction", nil}
	errOutOfReach   = &spendError{wsticket.ErrReplayUnavailable, outOfReach, "the ticket's times are outside of what MaxTTL and Leeway of the guard cover", nil}
	errBadAnswer    = &spendError{wsticket.ErrReplayUnavailable, unreachable, "the store gave an answer that is none of ours; is it Redis 7 or Valkey?", nil}

	errNoConnection = errors.New("there is no connection to the store yet")
	errMisfit       = errors.New("the store does not fit")
)

func unavailable(cause error) error {
	return &spendError{wsticket.ErrReplayUnavailable, unreachable, "the store did not take the claim", cause}
}

// gone is for a caller who has given up.
func gone(ctx context.Context) error {
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return &spendError{wsticket.ErrReplayUnavailable, timedOut, "the store did not answer in time", err}
	}
	return &spendError{wsticket.ErrReplayUnavailable, left, "the handshake ended before the store answered", ctx.Err()}
}

// asAnswer makes one of ours of an error of the client.
func asAnswer(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &spendError{wsticket.ErrReplayUnavailable, timedOut, "the store did not answer in time", err}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return errClosed
	}
	return unavailable(err)
}

// storeSaid is what the store said to one claim, or about it.
type storeSaid string

func (e storeSaid) Error() string { return string(e) }

// discreet takes out of an error what the store repeats of a command that it does not know:
// passwords, tickets and sessions are among it.
func discreet(err error) error {
	if e, ok := errors.AsType[*rueidis.RedisError](err); ok {
		if text, _, found := strings.Cut(e.Error(), ", with args"); found {
			return storeSaid(text)
		}
	}
	return err
}

// isAway says whether an error means that there was no store to decide: none that
// answered, or one that is no primary now. To try again may help.
func isAway(err error) bool {
	switch e := err.(type) {
	case nil, wsticket.Error:
		return false
	case *spendError:
		if e.cause == nil {
			return e.outcome == timedOut
		}
		return e.outcome != left && isAway(e.cause)
	}
	text := ""
	if e, ok := errors.AsType[*rueidis.RedisError](err); ok {
		text = e.Error()
	} else if e, ok := errors.AsType[storeSaid](err); ok {
		text = string(e)
	} else {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, errMisfit)
	}
	switch kind, _, _ := strings.Cut(text, " "); kind {
	case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "NOTPRIMARY", "MOVED", "ASK", "TRYAGAIN", "BUSY":
		return true
	}
	return false
}
