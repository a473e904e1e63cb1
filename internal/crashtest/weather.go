package crashtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
)

// badScheme is of the URL of a file store whose weather is not fair, in the process that is killed.
const badScheme = "crashtest"

// errWeather is what a store says that has no better reason.
var errWeather = errors.New("bad weather")

var forecast struct {
	once sync.Once
	mu   sync.Mutex
	by   map[string][]faultstore.Rule // by the URL's path; under mu
}

// expose returns the URL under which the replica at dir is in bad weather, from now on.
func (w weather) expose(ctx context.Context, dir string) (string, error) {
	forecast.once.Do(func() {
		forecast.by = map[string][]faultstore.Rule{}
		store.Register(badScheme, openExposed)
	})
	u, err := url.Parse(replicaURL(dir))
	if err != nil {
		return "", err
	}
	forecast.mu.Lock()
	forecast.by[u.Path] = w.rules(ctx)
	forecast.mu.Unlock()
	u.Scheme = badScheme
	return u.String(), nil
}

func openExposed(ctx context.Context, u *url.URL) (store.Store, error) {
	s, err := store.Open(ctx, "file://"+u.Path)
	if err != nil {
		return nil, err
	}
	forecast.mu.Lock()
	defer forecast.mu.Unlock()
	return faultstore.Wrap(s, faultstore.Options{}, forecast.by[u.Path]...), nil
}

// rules are shared by all who open the store. Outages begin and end by the clock until ctx ends.
func (w weather) rules(ctx context.Context) (rules []faultstore.Rule) {
	out := new(faultstore.Toggle)
	rules = append(rules, faultstore.When(out, faultstore.Fail(errWeather)))
	if w.Offline {
		out.On()
	}
	if w.OffMS > 0 {
		go w.outages(ctx, out)
	}
	if w.LostSnapshot {
		first := faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.NameMatch("*/snapshot/*"), faultstore.OnIndex(0))
		rules = append(rules, faultstore.When(first, faultstore.LostAck(store.Permanent(errWeather)))) // nobody tries it again at once
	}
	if w.Faults > 0 {
		for i, e := range []faultstore.Effect{
			faultstore.LostAck(errWeather), faultstore.Fail(errWeather), faultstore.CutShort(100), faultstore.Slow(5 * time.Millisecond),
		} {
			rules = append(rules, faultstore.When(faultstore.Randomly(w.Faults/4, w.Seed+uint64(i)), e))
		}
	}
	return rules
}

func (w weather) outages(ctx context.Context, out *faultstore.Toggle) {
	r := rand.New(rand.NewPCG(w.Seed, 9))
	for {
		for _, turn := range []func(){out.Off, out.On} {
			turn()
			select {
			case <-time.After(time.Duration(1+r.IntN(w.OffMS)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}
