package shipper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/store"
	"seawal/store/faultstore"
)

// overwriting is a store that takes a condition, and doesn't look at it: at all, or where an object comes in parts.
type overwriting struct {
	store.Store
	inParts bool
}

func (o overwriting) Create(ctx context.Context, name string, body store.Body) error {
	if o.inParts && !store.WantsParts(ctx) {
		return o.Store.Create(ctx, name, body)
	}
	if err := o.Store.Delete(ctx, name); err != nil {
		return err
	}
	return o.Store.Create(ctx, name, body)
}

// A store that overwrites what is there is found out before anything is shipped, and known for that by every later process, on
// every host.
func TestStoreThatOverwrites(t *testing.T) {
	for name, inParts := range map[string]bool{"every object": false, "objects in parts": true} {
		t.Run(name, func(t *testing.T) { bubble(t, func(t *testing.T) { testStoreThatOverwrites(t, inParts) }) })
	}
}

func testStoreThatOverwrites(t *testing.T, inParts bool) {
	w := newWorld(t, t.TempDir())
	w.store = overwriting{w.store, inParts}
	w.offline(w.txOn(12, 30))
	other := w.twinWorld(t.TempDir())
	for _, h := range []*world{w, w, other} {
		h.start()
		h.src.commit(CommitFrames, h.tx(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := h.sh.Flush(ctx)
		cancel()
		if !errors.Is(err, ErrOverwrites) || !strings.Contains(err.Error(), "If-None-Match") || !strings.Contains(err.Error(), "create=versions") {
			t.Errorf("flush: %v; want ErrOverwrites, and the way out; status %+v", err, h.sh.Status())
		}
		if d := h.sh.Durable(); d.Tx != 0 {
			t.Errorf("durable %v", d)
		}
		_ = h.kill() // says the same
		if o := w.objects(); o != "replica.json" {
			t.Errorf("objects:\n%s", o)
		}
	}
	if r, err := replica.ReadReplica(t.Context(), w.store); err != nil || !r.Overwrites {
		t.Errorf("%+v, %v", r, err)
	}
	reliability.Record(t, reliability.Fault{Group: reliability.Durable, Name: "a store that ignores If-None-Match",
		How: "every create overwrites what is there, or every create in parts, for three processes on two hosts"}, 3, 0)
}

// A store that doesn't is asked once in the life of a replica, and replica.json is as it was made.
func TestStoreIsProvenOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.offline(w.txOn(12, 30))
		creates := &faultstore.Counter{P: faultstore.And(faultstore.NameMatch("replica.json"), faultstore.OnOp(store.OpCreate))}
		w.faulty(faultstore.When(creates, faultstore.Pass()))
		w.start()
		w.flush()
		w.stop()
		w.follow()
		if r, err := replica.ReadReplica(t.Context(), w.store); err != nil || r.Overwrites || creates.Count() != 3 {
			t.Errorf("%d creates of replica.json; %+v, %v", creates.Count(), r, err)
		}
	})
}
