package restore

import "context"

const (
	// fetchAhead is how many segments are fetched or decoded ahead of the one
	// that is applied: with a round trip of 50 ms, 640 small segments a second.
	fetchAhead = 32
	// wholeSize is the largest segment that is fetched ahead as a whole, bytes.
	// Larger ones are read as they are decoded. fetchAhead of them take 8 MiB.
	wholeSize = 256 << 10
	// batchSize is the amount of page data, in bytes, at which a batch is handed
	// over, and batchRecords the number of records.
	batchSize    = 128 << 10
	batchRecords = 1 << 10
	// batchAhead is how many batches of one segment wait to be applied: at most
	// some 500 KiB, 16 MiB for all.
	batchAhead = 2
)

// applySegments applies merged and log segments in order. Three stages run at once, each
// over the segments in order:
//
//	fetch   reads small segments whole, up to fetchAhead at a time
//	decode  turns segments into batches of records, as many at a time as there are workers
//	apply   the caller's goroutine: page images, checksums, file
//
// A segment takes its place in each stage in order, and a place in decode is given back only
// by finishing; so the segment that apply waits for always has its place, and
// those behind it wait when their batches are full.
//
// What is wrong with a segment comes out when apply gets to it, so that the
// first one in order is blamed, and everything before it is known to be good.
func (b *builder) applySegments(ctx context.Context, steps []Step) error {
	g := newGroup(ctx)
	ahead := make(chan struct{}, fetchAhead) // places in fetch; given back when a segment is applied
	fetched := make(chan *feed, fetchAhead)
	feeds := make(chan *feed, fetchAhead)
	g.run(func(ctx context.Context) error {
		defer close(fetched)
		var before *feed
		for _, step := range steps {
			if !enter(ctx, ahead) {
				return ctx.Err()
			}
			f := newFeed(b.store, step, before)
			before = f
			fetched <- f // has room: there are only fetchAhead places
			g.run(func(ctx context.Context) error {
				f.fetch(ctx)
				return nil
			})
		}
		return nil
	})
	g.run(func(ctx context.Context) error {
		defer close(feeds)
		decoding := make(chan struct{}, b.workers)
		for f := range fetched {
			if !enter(ctx, decoding) {
				return ctx.Err()
			}
			feeds <- f
			g.run(func(ctx context.Context) error {
				defer func() { <-decoding }()
				f.decode(ctx, b)
				return nil
			})
		}
		return nil
	})
	g.run(func(ctx context.Context) error {
		for f := range feeds {
			if err := b.drain(ctx, f); err != nil {
				return err
			}
			b.progress.add(f.step.Size - f.told) // what was not read lies behind the target
			<-ahead
		}
		return ctx.Err()
	})
	return g.wait()
}

// enter takes a place; false when the context ended.
func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
