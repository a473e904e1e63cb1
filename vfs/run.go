//go:build cgo

package vfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"seawal/internal/killpoint"
	"seawal/shipper"
	"seawal/store"
)

// run is one life of what ships a database: a shipper for each replica, and the checkpointer.
type run struct {
	feed     *feed
	replicas []*link // in the order of the configuration; positions are those of the first
	waitFor  int     // how many of them have to have a commit before a waiter is told so
	ckpt     *checkpointer
	poll     *poll // through the reader connection of the first

	companions companions // of the poller, and at the end
}

// link is one replica of a database.
type link struct {
	url     string      // normalised
	raw     store.Store // closed by the shipper, once that was started
	source  *source
	folder  string // of its state
	shipper *shipper.Shipper
	counts  *store.Counts
}

// newRun prepares to ship; nothing runs yet.
func (d *database) newRun(ctx context.Context, log *slog.Logger) (*run, error) {
	r := &run{feed: newFeed(d.tap, d.cfg.RingBytes, len(d.replicas)), waitFor: d.cfg.WaitFor}
	for i, url := range d.replicas {
		l, err := d.newLink(ctx, url, i, r.feed.cursors[i], log)
		if err != nil {
			for _, l := range r.replicas {
				err = errors.Join(err, l.raw.Close())
			}
			return nil, err
		}
		r.replicas = append(r.replicas, l)
	}
	shipper.InOrder(r.inOrder()...)
	return r, nil
}

// inOrder are the shippers in an order that all processes share which have the database open, with whatever replicas.
func (r *run) inOrder() (all []*shipper.Shipper) {
	byFolder := func(a, b *link) int { return strings.Compare(a.folder, b.folder) }
	for _, l := range slices.SortedFunc(slices.Values(r.replicas), byFolder) {
		all = append(all, l.shipper)
	}
	return all
}

func (d *database) newLink(ctx context.Context, url string, i int, c *cursor, log *slog.Logger) (*link, error) {
	adopted, err := d.cfg.adopted()
	if err != nil {
		return nil, err
	}
	raw, err := store.Open(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("replica of %s: %w", d.path, err)
	}
	l := &link{url: url, raw: raw, counts: new(store.Counts)}
	l.folder = claimStateFolder(d.path, url, len(d.replicas))
	l.source = &source{cursor: c, tap: d.tap, path: d.path, index: i, dial: d.dialReader}
	l.shipper, err = shipper.New(shipper.Config{
		Source: l.source, DBPath: d.path, StateDir: l.folder, OtherDirs: otherStateFolders(d.path, l.folder), Only: len(d.replicas) == 1,
		Former: formerReplicas(d.path, d.replicas),
		Adopt:  adopted, BeganEmpty: d.isNew, LogKept: d.found[url].logKept, Recreated: d.cfg.Recreated == RecreatedNewTimeline, NoLook: d.cfg.Look == LookOff,
		Interval: d.cfg.Interval,
		Logger:   log.With("replica", store.Redact(url)), Found: d.found[url].text, Judgement: d.found[url].judgement, RetryWait: d.cfg.retryWait, BatchBytes: d.cfg.batchBytes,
		Open: func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
			retry := d.cfg.retry
			retry.OnError = onError
			return store.Stack(raw, store.StackOptions{Counts: l.counts, Budget: budget.Load(), Retry: retry}), nil
		},
	})
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return l, nil
}

// giveWay closes our own connections, which are opened again when they are needed: the application wants the
// database to itself.
func (r *run) giveWay() {
	for _, l := range r.replicas {
		l.source.giveWay()
	}
	if r.ckpt != nil {
		poke(r.ckpt.leave)
	}
}

// giveUp ends the reads that keep a log from being started again which has grown past its bound.
func (r *run) giveUp() {
	for _, l := range r.replicas {
		l.source.giveUp()
	}
	if r.ckpt != nil {
		poke(r.ckpt.asked)
	}
}

// each calls f for all replicas at once.
func (r *run) each(f func(*link) error) error {
	if len(r.replicas) == 1 {
		return f(r.replicas[0])
	}
	failed := make(chan error)
	for _, l := range r.replicas {
		go func() { failed <- f(l) }()
	}
	var err error
	for range r.replicas {
		err = errors.Join(err, <-failed)
	}
	return err
}

// enough calls wait for all replicas and returns nil once as many have succeeded as a waiter asks for, an error once
// that can't be any more. It has let go of the others by then.
func (r *run) enough(ctx context.Context, wait func(context.Context, *link) error) error {
	if len(r.replicas) == 1 {
		return wait(ctx, r.replicas[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(r.replicas))
	for _, l := range r.replicas {
		go func() {
			err := wait(ctx, l)
			if err != nil {
				err = fmt.Errorf("replica %s: %w", store.Redact(l.url), err)
			}
			results <- err
		}()
	}
	var failed error
	for good, bad := 0, 0; ; {
		if err := <-results; err == nil {
			good++
		} else {
			bad++
			failed = errors.Join(failed, err)
		}
		switch {
		case good == r.waitFor:
			return nil
		case bad > len(r.replicas)-r.waitFor:
			return failed
		}
	}
}

// position is the position of everything that is committed, in the first replica's numbers.
func (r *run) position(ctx context.Context) (Pos, error) {
	r.poll.now()
	return r.replicas[0].shipper.Position(ctx)
}

// wait waits until a position, of the first replica, is durable in enough of them.
func (r *run) wait(ctx context.Context, pos Pos) error {
	first := r.replicas[0].shipper
	return r.enough(ctx, func(ctx context.Context, l *link) error {
		if l.shipper == first {
			return first.Wait(ctx, pos)
		}
		// Transactions have other numbers there; captured commits don't.
		ticket, err := first.Ticket(ctx, pos)
		if err != nil {
			return err
		}
		return l.shipper.WaitTicket(ctx, ticket, false)
	})
}

// flush ships at once and waits until what is committed now is durable in enough replicas.
func (r *run) flush(ctx context.Context) error {
	r.poll.now()
	return r.enough(ctx, func(ctx context.Context, l *link) error { return l.shipper.Flush(ctx) })
}

// waitTicket waits until the commit with a ticket is, and ships at once.
func (r *run) waitTicket(ctx context.Context, ticket uint64) error {
	return r.enough(ctx, func(ctx context.Context, l *link) error { return l.shipper.WaitTicket(ctx, ticket, true) })
}

// close ships what is left, until ctx ends, and ends all shippers.
func (r *run) close(ctx context.Context) error {
	return r.each(func(l *link) error {
		err := l.shipper.Close(ctx)
		if err != nil && len(r.replicas) > 1 {
			err = fmt.Errorf("replica %s: %w", store.Redact(l.url), err)
		}
		return err
	})
}

// stop ends a run.
func (d *database) stop(r *run) error {
	r.poll.end()
	if err := r.checkLog(); err != nil && !d.tap.moved() {
		r.endAll(err) // before anybody says that what is left is safe in it
	}
	if r.ckpt != nil {
		r.ckpt.end()
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.CloseTimeout)
	defer cancel()
	err := r.close(ctx)
	killpoint.Hit("vfs/close-shipped")
	// What did not reach a replica stays in the log: the next open resumes there.
	d.tap.persist(err != nil)
	d.tap.alone(true)
	r.feed.close()
	killpoint.Hit("vfs/close-alone")
	isIn := err != nil && d.bringLogIn(r)
	for _, l := range r.replicas {
		err = errors.Join(err, l.source.close())
	}
	killpoint.Hit("vfs/close-reader-closed")
	if r.ckpt != nil {
		err = errors.Join(err, r.ckpt.close())
	}
	if isIn {
		err = errors.Join(err, d.keepLog())
	}
	killpoint.Hit("vfs/close-done")
	return err
}
