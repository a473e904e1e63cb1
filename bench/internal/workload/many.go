package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
)

const (
	idleTime    = 1500 * time.Millisecond
	trickleTime = 1500 * time.Millisecond
	trickleRate = 100 // commits a second, over all databases
	settleTime  = time.Second
)

// measureMany opens Spec.rows databases in one process and looks at it while they do nothing, and
// while one after the other gets a commit.
func (b *bench) measureMany(ctx context.Context, template string) (err error) {
	var open []design.Session
	defer func() {
		for _, s := range open {
			err = errors.Join(err, s.Close(ctx))
		}
	}()
	start := time.Now()
	for i := range b.spec.rows {
		s, err := b.openOne(ctx, template, i)
		if err != nil {
			return fmt.Errorf("database %d: %w", i, err)
		}
		open = append(open, s)
	}
	for i, s := range open {
		if r, ok := s.(design.Replicator); ok {
			if err := r.Flush(ctx); err != nil {
				return fmt.Errorf("database %d: %w", i, err)
			}
		}
	}
	b.run.Ops, b.run.Seconds = int64(len(open)), time.Since(start).Seconds()
	b.run.Figures = map[string]float64{"open_s": b.run.Seconds}

	// What opening left to do in the background is not idling.
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	runtime.GC()
	err = b.during(ctx, "idle", open, func() error { return sleep(ctx, idleTime) })
	if err != nil {
		return err
	}
	err = b.during(ctx, "trickle", open, func() error { return trickle(ctx, open) })
	b.run.PeakRSS = machine.MemoryOf(0).PeakRSS
	return err
}

// openOne opens a database of its own and writes to it, so that it has a replica.
func (b *bench) openOne(ctx context.Context, template string, i int) (design.Session, error) {
	name := fmt.Sprintf("app-%04d", i)
	path := filepath.Join(b.dir, name+".db")
	content, err := os.ReadFile(template)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return nil, err
	}
	d, err := b.database(path, filepath.Join(b.replica(), name))
	if err != nil {
		return nil, err
	}
	s, err := b.design.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := writeOne(ctx, s, i); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func writeOne(ctx context.Context, s design.Session, n int) error {
	_, err := s.DB().ExecContext(ctx, insertEvent, n, n, "one of many")
	return err
}

func trickle(ctx context.Context, open []design.Session) error {
	begun := time.Now()
	for n := range int(trickleRate * trickleTime.Seconds()) {
		if err := sleep(ctx, time.Until(begun.Add(time.Duration(n)*time.Second/trickleRate))); err != nil {
			return err
		}
		if err := writeOne(ctx, open[n%len(open)], n); err != nil {
			return err
		}
	}
	return nil
}

// during takes the figures of a phase: what the process used and held, what the store was asked for.
func (b *bench) during(ctx context.Context, phase string, open []design.Session, fn func() error) error {
	asked, err := requests(ctx, open)
	if err != nil {
		return err
	}
	used, start := machine.Self(), time.Now()
	if err := fn(); err != nil {
		return err
	}
	u, took := machine.Self().Sub(used), time.Since(start)
	anon := machine.MemoryOf(0).Anon
	b.run.PeakAnon = max(b.run.PeakAnon, anon)
	f := b.run.Figures
	f[phase+"_cpu_percent"] = 100 * (u.User + u.System).Seconds() / took.Seconds()
	f[phase+"_memory_bytes"] = float64(anon)
	f[phase+"_goroutines"] = float64(runtime.NumGoroutine())
	n, err := requests(ctx, open)
	f[phase+"_requests"] = float64(n - asked)
	return err
}

// requests adds up what the stores of all databases were asked for.
func requests(ctx context.Context, open []design.Session) (n int64, err error) {
	for _, s := range open {
		r, ok := s.(design.Replicator)
		if !ok {
			continue
		}
		sent, err := r.Sent(ctx)
		if err != nil {
			return 0, err
		}
		n += sent.Requests
	}
	return n, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
