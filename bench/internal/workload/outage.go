package workload

import (
	"context"
	"fmt"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
)

// Lengths of the phases of an outage.
const (
	beforeOutage = 3 * time.Second
	outageTime   = 30 * time.Second
)

// suffer writes at a steady rate, takes the store away, gives it back, and goes on until the
// replica has caught up.
func (b *bench) suffer(ctx context.Context) error {
	c := b.clients[0]
	b.run.Latency = result.NewLatency()
	gate, replicated := b.session.(design.Outage)
	write := func(d time.Duration) (*result.Latency, error) {
		lat := result.NewLatency()
		n, err := c.repeat(ctx, lat, 0, d, b.spec.rate)
		b.run.Ops += n
		b.run.Seconds += d.Seconds()
		b.run.Latency.Merge(lat)
		return lat, err
	}
	before, err := write(beforeOutage)
	if err != nil {
		return err
	}
	if replicated {
		gate.SetDown(true)
	}
	during, err := write(outageTime)
	if err != nil {
		return err
	}
	b.run.Figures = map[string]float64{
		"p99_before_ms":     before.At(0.99).Seconds() * 1e3,
		"p99_outage_ms":     during.At(0.99).Seconds() * 1e3,
		"outage_s":          outageTime.Seconds(),
		"commits_in_outage": float64(during.Count()),
	}
	if !replicated {
		return nil
	}
	return b.catchUp(ctx, gate, write)
}

// catchUp gives the store back and measures until what was committed meanwhile is
// durable, with the writer going on.
func (b *bench) catchUp(ctx context.Context, gate design.Outage, write func(time.Duration) (*result.Latency, error)) error {
	wait, err := gate.Mark(ctx)
	if err != nil {
		return err
	}
	gate.SetDown(false)
	start := time.Now()
	caught := make(chan error, 1)
	go func() { caught <- wait(ctx) }()
	for {
		if _, err := write(100 * time.Millisecond); err != nil {
			return err
		}
		select {
		case err := <-caught:
			if err != nil {
				return fmt.Errorf("catching up: %w", err)
			}
			b.run.Figures["catch_up_s"] = time.Since(start).Seconds()
			return nil
		default:
		}
	}
}
