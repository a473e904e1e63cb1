package crashtest

import (
	"context"
	"os"
	"sync"
)

// Campaign runs histories, some at a time.
type Campaign struct {
	Options
	Seed    uint64                                 // of the first history of each kind; the next ones follow
	AtATime int                                    // histories; 0: one
	Next    func(done map[Kind]Stats) (Kind, bool) // what is to be done next, given what is done; false: nothing
	Done    func(Result)                           // called for every history, one at a time; may be nil
}

// Run runs histories until Next says that it is enough, or ctx ends. It returns what happened in each kind, and how many histories found something
// wrong.
func (c Campaign) Run(ctx context.Context) (done map[Kind]Stats, failures int) {
	var mu sync.Mutex // guards what follows
	done = map[Kind]Stats{}
	begun := map[Kind]uint64{}
	var wg sync.WaitGroup
	for range max(1, c.AtATime) {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for ctx.Err() == nil {
				k, ok := c.Next(done)
				if !ok {
					return
				}
				seed := c.Seed + begun[k]
				begun[k]++
				mu.Unlock()
				res := Live(ctx, c.Options, k, seed)
				mu.Lock()
				if res.Error != "" && ctx.Err() != nil {
					_ = os.RemoveAll(res.Dir) // it was cut off
					return
				}
				sum := done[k]
				sum.Add(res.Stats)
				done[k] = sum
				if res.Error != "" {
					failures++
				}
				if c.Done != nil {
					c.Done(res)
				}
			}
		})
	}
	wg.Wait()
	return done, failures
}
