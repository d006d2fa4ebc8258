package redisguard

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
)

// The scripts. What every one begins with is in protocol.lua.
var (
	//go:embed protocol.lua
	protocolLua string
	//go:embed claim.lua
	claimLua string
	//go:embed look.lua
	lookLua string
	//go:embed endings.lua
	endingsLua string

	claimScript   = newScript(protocolLua + claimLua)
	lookScript    = newScript(protocolLua + lookLua)
	endingsScript = newScript(protocolLua + endingsLua)
)

// A script is sent by its digest, and whole where the store does not know it. Nothing
// rests on who knows it.
type script struct{ text, sha string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // by which Redis names scripts
	return script{text, hex.EncodeToString(sum[:])}
}

// run returns the answer of a script, which is a string. With wait, it returns how many replicas have
// it too, waiting for that many until ctx ends.
func (s *script) run(ctx context.Context, client rueidis.Client, wait int, keys, args []string) (string, int, error) {
	call := client.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	text, replicas, err := do(ctx, client, wait, call)
	if e, ok := rueidis.IsRedisErr(err); ok && e.IsNoScript() {
		call = client.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
		text, replicas, err = do(ctx, client, wait, call)
	}
	return text, replicas, err
}

func do(ctx context.Context, client rueidis.Client, wait int, call rueidis.Completed) (string, int, error) {
	if client == nil {
		return "", 0, errNoConnection
	}
	if wait == 0 {
		text, err := client.Do(ctx, call).ToString()
		return text, 0, discreet(err)
	}
	answers := doAndWait(ctx, client, wait, call)
	text, err := answers[0].ToString()
	if err != nil {
		return "", 0, discreet(err)
	}
	replicas, err := answers[1].AsInt64()
	return text, int(replicas), discreet(err)
}

// doAndWait sends the call and a WAIT behind it on one connection.
func doAndWait(ctx context.Context, client rueidis.Client, wait int, call rueidis.Completed) []rueidis.RedisResult {
	deadline, _ := ctx.Deadline()
	// A little less, so that its answer comes in time when it is no.
	waitFor := max(1, time.Until(deadline).Milliseconds()*2/3)
	waitCall := client.B().Wait().Numreplicas(int64(wait)).Timeout(waitFor).Build()
	if client.Mode() != rueidis.ClientModeCluster {
		return client.DoMulti(ctx, call, waitCall) // WAIT makes it one of a pool of connections
	}
	conn, release := client.Dedicate()
	defer release()
	return conn.DoMulti(ctx, call, waitCall)
}

// send carries a batch of claims to the store.
func (l *lane) send(ctx context.Context, batch []*claim) (claimReply, error) {
	keys := make([]string, 1, 1+len(batch))
	args := append(make([]string, 0, 3+4*len(batch)), l.g.rules.args(l.since.Load())...)
	keys[0] = l.epoch
	for _, c := range batch {
		keys = append(keys, l.keys+string(c.use.Identity[:]))
		args = append(args, decimal(c.use.Now), decimal(c.use.Issued), decimal(c.use.Expires), string(c.value[:]))
	}
	text, replicas, err := claimScript.run(ctx, l.client, l.g.waitReplicas, keys, args)
	if err != nil {
		return claimReply{}, asAnswer(ctx, err)
	}
	reply, err := parseClaimReply(text, len(batch))
	if err == nil && replicas < l.g.waitReplicas {
		reply.unsafe = storeSaid(fmt.Sprintf("%d replicas have the claim in time, WaitReplicas is %d", replicas, l.g.waitReplicas))
	}
	return reply, err
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// args are what every script is told first.
func (r rules) args(since int64) []string {
	return []string{decimal(r.leeway), decimal(r.maxSkew), decimal(since)}
}

// A claimReply is what the store says to a batch.
type claimReply struct {
	since, now int64  // ms
	verdicts   string // a letter each
	trouble    string // what the store said to the last of those that are 'u'
	unsafe     error  // why what is claimed may be lost
}

// parseClaimReply reads the answer of claim.lua to n claims.
func parseClaimReply(text string, n int) (r claimReply, err error) {
	since, rest, ok1 := strings.Cut(text, " ")
	now, rest, ok2 := strings.Cut(rest, " ")
	verdicts, trouble, ok3 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !ok3 || len(verdicts) != n {
		return r, errBadAnswer
	}
	if r.since, err = milli(since); err != nil {
		return r, errBadAnswer
	}
	if r.now, err = milli(now); err != nil {
		return r, errBadAnswer
	}
	r.verdicts, r.trouble = verdicts, trouble
	return r, nil
}

// milli reads a time in milliseconds.
func milli(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 53)
	return int64(n), err
}

// verdict is the result of claim i.
func (r *claimReply) verdict(i int) error {
	switch r.verdicts[i] {
	case 'c':
		if r.unsafe != nil {
			return unavailable(r.unsafe)
		}
		return nil
	case 'r':
		return wsticket.ErrReplayed
	case 'e':
		return wsticket.ErrIssuedBeforeStart
	case 's':
		return errSkew
	case 'u':
		return unavailable(storeSaid(r.trouble))
	}
	return errBadAnswer
}
