package etcdguard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// members are the endpoints of the cluster, each with a client of its own. One client
// over all of them would choose by itself, and could choose one that is frozen again
// and again.
type members struct {
	config  clientv3.Config
	attempt time.Duration // how long one member gets

	current atomic.Int64 // the member that is asked, until it fails

	mu     sync.Mutex // guards what follows
	all    []member
	making sync.WaitGroup
	closed bool
}

type member struct {
	client *clientv3.Client
	making chan struct{} // closed when the attempt to make a client is over; nil when there is none
	err    error         // of the last attempt
}

func newMembers(config clientv3.Config, ctx context.Context, timeout time.Duration) *members {
	if config.Logger == nil {
		config.Logger = zap.NewNop() // the default writes to standard error
	}
	config.Context = ctx
	config.DialTimeout = timeout
	config.MaxUnaryRetries = 2 // enough to fetch a new token
	config.DialOptions = append([]grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		// Without this it comes to wait for two minutes before it connects again.
		Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: time.Second,
	})}, config.DialOptions...)
	return &members{
		config:  config,
		attempt: max(timeout/4, 50*time.Millisecond),
		all:     make([]member, len(config.Endpoints)),
	}
}

var errClientClosed = errors.New("the guard is closed")

// get returns the client of a member. Where the user has a password, making one asks
// the member for a token and takes its time.
func (m *members) get(ctx context.Context, i int) (*clientv3.Client, error) {
	m.mu.Lock()
	at := &m.all[i]
	if at.client != nil || m.closed {
		defer m.mu.Unlock()
		if m.closed {
			return nil, errClientClosed
		}
		return at.client, nil
	}
	if at.making == nil {
		making := make(chan struct{})
		at.making = making
		m.making.Go(func() {
			config := m.config
			config.Endpoints = config.Endpoints[i : i+1]
			client, err := clientv3.New(config)
			m.mu.Lock()
			at.client, at.err, at.making = client, err, nil
			m.mu.Unlock()
			close(making)
		})
	}
	making := at.making
	m.mu.Unlock()
	select {
	case <-making:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.client == nil {
		return nil, at.err
	}
	return at.client, nil
}

// try asks one member after the other until one answers, the answer is final, or ctx
// ends. It stays with the member that answered.
func (m *members) try(ctx context.Context, retries *atomic.Uint64, ask func(context.Context, *clientv3.Client) error) error {
	for failures := 1; ; failures++ {
		i := m.current.Load()
		err := m.attemptAt(ctx, int(i), ask)
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.current.CompareAndSwap(i, (i+1)%int64(len(m.all)))
		retries.Add(1)
		if failures%len(m.all) == 0 { // all of them
			wait := time.NewTimer(min(time.Duration(failures)*10*time.Millisecond, 100*time.Millisecond))
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return ctx.Err()
			}
		}
	}
}

func (m *members) attemptAt(ctx context.Context, i int, ask func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.attempt)
	defer cancel()
	client, err := m.get(ctx, i)
	if err != nil {
		return err
	}
	// A member that is cut off from the leader says so instead of having us wait.
	return ask(clientv3.WithRequireLeader(ctx), client)
}

// final says whether no other member and no other attempt would answer otherwise.
func final(err error) bool {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, errClientClosed):
		return true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false // of the attempt; the caller looks at its own
	}
	code := status.Code(err)
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = e.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}

// close ends all clients. No call is in progress any more.
func (m *members) close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.making.Wait()
	var all []error
	for i := range m.all {
		if c := m.all[i].client; c != nil {
			if err := c.Close(); err != nil && !errors.Is(err, context.Canceled) {
				all = append(all, err)
			}
		}
	}
	return errors.Join(all...)
}
