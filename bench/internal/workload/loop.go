package workload

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"seawal/bench/internal/result"
)

func newWriteLock() *sync.Mutex { return new(sync.Mutex) }

// warmUpShare of the operations are done before the measurement.
const warmUpShare = 10

// warmUp does some of the operations unmeasured: caches fill, statements
// compile, the log gets its first frames and the replica its first snapshot.
func (b *bench) warmUp(ctx context.Context) error {
	if b.spec.kind == bulkLoad {
		return nil
	}
	n := b.job.Ops/warmUpShare + 1
	limit := b.job.Limit / warmUpShare
	_, err := b.each(b.clients, func(c *client, lat *result.Latency) (int64, error) {
		return c.repeat(ctx, lat, n/int64(len(b.clients))+1, limit, 0)
	})
	if err != nil || len(b.readers) == 0 {
		return err
	}
	_, err = b.each(b.readers, func(c *client, lat *result.Latency) (int64, error) {
		return c.repeat(ctx, lat, 1000, limit, 0)
	})
	return err
}

// total is what several clients did.
type total struct {
	ops     int64
	latency *result.Latency
}

// each runs fn for all clients at the same time and adds up.
func (b *bench) each(clients []*client, fn func(*client, *result.Latency) (int64, error)) (total, error) {
	t := total{latency: result.NewLatency()}
	var mu sync.Mutex // for t and firstErr
	var firstErr error
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			lat := result.NewLatency()
			n, err := fn(c, lat)
			mu.Lock()
			defer mu.Unlock()
			t.ops += n
			t.latency.Merge(lat)
			if firstErr == nil {
				firstErr = err
			}
		})
	}
	wg.Wait()
	return t, firstErr
}

// repeat does n operations (0: any number), for at most limit, rate a second (0: flat out).
//
// A paced operation that starts late because the one before took too long is timed from when it was
// due: otherwise one slow commit would hide all those that it delays. That the sleep before it overshot is
// not counted.
func (c *client) repeat(ctx context.Context, lat *result.Latency, n int64, limit time.Duration, rate int) (int64, error) {
	op, err := c.prepared(ctx)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	prev := begun
	for i := int64(0); n == 0 || i < n; i++ {
		if rate > 0 {
			due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
			if wait := due.Sub(prev); wait > 0 {
				time.Sleep(wait)
				prev = time.Now()
			} else {
				prev = due
			}
		}
		if err := op(ctx); err != nil {
			return i, err
		}
		now := time.Now()
		lat.Record(now.Sub(prev))
		prev = now
		if now.Sub(begun) >= limit {
			return i + 1, nil
		}
	}
	return n, nil
}

// prepared is the client's operation, whose statements are prepared once.
func (c *client) prepared(ctx context.Context) (operation, error) {
	if c.op == nil {
		op, err := c.operation(ctx)
		if err != nil {
			return nil, err
		}
		c.op = op
	}
	return c.op, nil
}

// loop is the work of most workloads: operations by clients, reads beside them.
func (b *bench) loop(ctx context.Context) error {
	var done atomic.Bool
	var reads total
	var readErr error
	var wg sync.WaitGroup
	if len(b.readers) > 0 {
		wg.Go(func() {
			reads, readErr = b.each(b.readers, func(c *client, lat *result.Latency) (int64, error) {
				return c.readUntil(ctx, lat, &done)
			})
		})
	}
	n := int64(len(b.clients))
	share := (b.job.Ops + n - 1) / n
	start := time.Now()
	t, err := b.each(b.clients, func(c *client, lat *result.Latency) (int64, error) {
		return c.repeat(ctx, lat, share, b.job.Limit, b.spec.rate/int(n))
	})
	b.run.Seconds = time.Since(start).Seconds()
	done.Store(true)
	wg.Wait()
	b.run.Ops, b.run.Latency = t.ops, t.latency
	if len(b.readers) > 0 {
		b.run.Reads, b.run.ReadLatency = reads.ops, reads.latency
	}
	if err == nil {
		err = readErr
	}
	return err
}

// readUntil reads flat out until done is set.
func (c *client) readUntil(ctx context.Context, lat *result.Latency, done *atomic.Bool) (n int64, err error) {
	op, err := c.prepared(ctx)
	if err != nil {
		return 0, err
	}
	for prev := time.Now(); !done.Load(); n++ {
		if err := op(ctx); err != nil {
			return n, err
		}
		now := time.Now()
		lat.Record(now.Sub(prev))
		prev = now
	}
	return n, nil
}

// load writes all rows in one transaction. An operation is a row; the commit is in the time.
func (b *bench) load(ctx context.Context) error {
	c := b.clients[0]
	insert, err := c.prepare(ctx, insertEvent)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := c.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for i := range b.spec.rows {
		if _, err := insert.ExecContext(ctx, i, i, c.text.next(120)); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	commit := time.Now()
	if _, err := c.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	b.run.Seconds = time.Since(start).Seconds()
	b.run.Ops = int64(b.spec.rows)
	b.run.Figures = map[string]float64{"commit_s": time.Since(commit).Seconds()}
	return nil
}
