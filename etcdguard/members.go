package etcdguard

import (
	"context"
	"errors"
	"fmt"
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
	config  clientv3.Config // but for the user
	ctx     context.Context // ends with the guard
	user    string
	secret  string
	attempt time.Duration // how long one member gets

	current atomic.Int64          // the member that is asked, until it fails
	trouble atomic.Pointer[error] // the last since one of them answered

	mu     sync.Mutex // guards what follows
	all    []member
	making sync.WaitGroup
	closed bool
}

type member struct {
	client *clientv3.Client
	making chan struct{} // closed when the making of a client is over; nil when none is made
	err    error         // why the last one was not made
	failed time.Time
}

func newMembers(config clientv3.Config, ctx context.Context, timeout time.Duration) *members {
	m := &members{
		ctx:     ctx,
		user:    config.Username,
		secret:  config.Password,
		attempt: max(timeout/4, 50*time.Millisecond),
		all:     make([]member, len(config.Endpoints)),
	}
	config.Username, config.Password = "", ""
	if config.Logger == nil {
		config.Logger = zap.NewNop() // the default writes to standard error
	}
	config.Context = ctx
	config.MaxUnaryRetries = 1 // try tries again
	config.DialOptions = append([]grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		// Without this it comes to wait for two minutes before it connects again.
		Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: time.Second,
	}), grpc.WithChainUnaryInterceptor(failFast)}, config.DialOptions...)
	m.config = config
	return m
}

// failFast has a call to a member that cannot be reached fail at once, with the reason,
// where the client would have it wait for a connection.
func failFast(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, conn, append(opts[:len(opts):len(opts)], grpc.WaitForReady(false))...)
}

const (
	// The store hashes a password slowly on purpose, and has many guards to serve when
	// a member has lost its tokens. If each gave up after an attempt's time and asked
	// again, none would ever be done.
	tokenTimeout = 15 * time.Second
	tokenAgain   = time.Second
)

var errClientClosed = errors.New("the guard is closed")

// get returns the client of a member. Where there is a user, making one takes a token,
// and that its time; all wait for the same one.
func (m *members) get(ctx context.Context, i int) (*clientv3.Client, error) {
	m.mu.Lock()
	at := &m.all[i]
	switch {
	case m.closed:
		m.mu.Unlock()
		return nil, errClientClosed
	case at.client != nil:
		defer m.mu.Unlock()
		return at.client, nil
	case at.making == nil && at.err != nil && time.Since(at.failed) < tokenAgain:
		defer m.mu.Unlock()
		return nil, at.err
	case at.making == nil:
		making := make(chan struct{})
		at.making = making
		m.making.Go(func() {
			client, err := m.connect(i)
			m.mu.Lock()
			at.client, at.err, at.making, at.failed = client, err, nil, time.Now()
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

// connect makes a client. Without a user it does not wait for a connection.
func (m *members) connect(i int) (*clientv3.Client, error) {
	config := m.config
	config.Endpoints = config.Endpoints[i : i+1]
	client, err := clientv3.New(config)
	if err != nil || m.user == "" {
		return client, err
	}
	ctx, cancel := context.WithTimeout(m.ctx, tokenTimeout)
	defer cancel()
	r, err := client.Authenticate(ctx, m.user, m.secret)
	if errors.Is(err, rpctypes.ErrAuthNotEnabled) {
		return client, nil
	}
	client.Close()
	if err != nil {
		return nil, err
	}
	config.Token = r.Token
	return clientv3.New(config)
}

// drop gives up a client whose token is no good any more.
func (m *members) drop(i int, client *clientv3.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[i].client == client && !m.closed {
		m.all[i].client, m.all[i].err = nil, nil
		m.making.Go(func() { client.Close() })
	}
}

// try asks one member after the other until one answers, the answer is final, or ctx
// ends. It stays with the member that answered.
func (m *members) try(ctx context.Context, retries *atomic.Uint64, ask func(context.Context, *clientv3.Client) error) error {
	for failures := 1; ; failures++ {
		i := m.current.Load()
		err := m.attemptAt(ctx, int(i), ask)
		if err == nil {
			m.trouble.Store(nil)
			return nil
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			m.trouble.Store(&err) // it says more than that time was up
		}
		if final(err) {
			return err
		}
		if ctx.Err() != nil {
			return m.because(ctx.Err())
		}
		m.current.CompareAndSwap(i, (i+1)%int64(len(m.all)))
		retries.Add(1)
		if failures%len(m.all) == 0 { // all of them
			wait := time.NewTimer(min(time.Duration(failures)*10*time.Millisecond, 100*time.Millisecond))
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return m.because(ctx.Err())
			}
		}
	}
}

// because adds to an error what the members last had to say.
func (m *members) because(err error) error {
	if trouble := m.trouble.Load(); trouble != nil {
		return fmt.Errorf("%w; before that: %w", err, *trouble)
	}
	return err
}

func (m *members) attemptAt(ctx context.Context, i int, ask func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.attempt)
	defer cancel()
	client, err := m.get(ctx, i)
	if err != nil {
		return err
	}
	// A member that is cut off from the leader says so instead of having us wait.
	err = ask(clientv3.WithRequireLeader(ctx), client)
	if m.user != "" && tokenGone(err) {
		m.drop(i, client)
		return errToken
	}
	return err
}

var errToken = errors.New("the store does not know the token any more that it gave")

func tokenGone(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(err, rpctypes.ErrUserEmpty)
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
