package shipper

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// damageObject changes an object of the replica; nil removes it.
func (w *world) damageObject(name string, change func(b []byte) []byte) {
	w.t.Helper()
	ctx := context.Background()
	in, err := w.store.Read(ctx, name, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Delete(ctx, name); err != nil {
		w.t.Fatal(err)
	}
	if change == nil {
		return
	}
	if err := w.store.Create(ctx, name, store.BytesBody(change(b))); err != nil {
		w.t.Fatal(err)
	}
}

// segments are the names of the segments of a timeline.
func (w *world) segments(timeline uint32) (names []string) {
	w.t.Helper()
	for _, name := range strings.Split(w.objects(), "\n") {
		if n, err := segment.ParseName(name); err == nil && n.Timeline == timeline && w.closeAt(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// closeAt is the close that has a name; nil: none has.
func (w *world) closeAt(name string) *segment.Close {
	w.t.Helper()
	o, err := w.store.Stat(context.Background(), name)
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	c, ok, rerr := replica.ReadClose(context.Background(), w.store, o)
	if err := errors.Join(err, rerr); err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		return nil
	}
	return &c
}

// An object that the page checksums have to be rebuilt through is damaged or gone: whatever the database did meanwhile, replication goes on,
// on a timeline that can be restored from its first point, and the one before stays as it is.
func TestDamagedReplicaIsHealed(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"missing":   nil,
		"cut short": func(b []byte) []byte { return b[:len(b)/2] },
		"corrupt":   func(b []byte) []byte { b[len(b)/2]++; b[len(b)-segment.FooterSize-1]++; return b }, // of a snapshot only the index is read
		"no footer": func(b []byte) []byte { b[len(b)-100]++; return b },
	} {
		for between, f := range map[string]func(w *world){
			"nothing":                func(*world) {},
			"ahead with its log":     func(w *world) { w.offline(w.tx(2), w.tx(1)) },
			"ahead without its log":  func(w *world) { w.offline(w.tx(2)); w.m.checkpoint(true) },
			"the folder is lost too": (*world).loseFolder,
		} {
			for object := range 6 {
				if name != "missing" && between != "nothing" && object%3 != 2 {
					continue // each object by each kind of damage, and some with what happened meanwhile
				}
				t.Run(strings.Join([]string{name, between, string(rune('0' + object))}, "/"), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						w := shipped(t, true)
						if err := os.Remove(filepath.Join(w.sh.cfg.StateDir, pagesFile)); err != nil {
							t.Fatal(err)
						}
						hurt := w.segments(1)[object]
						w.damageObject(hurt, change)
						f(w)
						before := w.segments(1)
						w.start()
						time.Sleep(time.Minute)
						w.commit(1)
						w.flush()
						st := w.sh.Status()
						if st.Durable.Timeline != 2 || st.Err != nil {
							t.Errorf("status %+v", st)
						}
						tl, err := replica.ReadTimeline(t.Context(), w.store, 2)
						if err != nil {
							t.Fatal(err)
						}
						isSeen := name != "missing" || hurt != segment.LogName(1, 6) || between != "the folder is lost too" // nobody knows of it
						if isSeen && (!strings.Contains(tl.Reason, "the replica is damaged") || !strings.Contains(st.Notice, "damaged")) {
							t.Errorf("timeline %+v, notice %q", tl, st.Notice)
						}
						if name != "missing" && !strings.Contains(tl.Reason, hurt) {
							t.Errorf("the reason %q does not name %s", tl.Reason, hurt)
						}
						w.stop()
						w.verify()
						if after := w.segments(1); strings.Join(after, " ") != strings.Join(before, " ") {
							t.Errorf("timeline 1 was %v, and is %v", before, after)
						}
						if at := (replica.Pos{Timeline: 1, Tx: tl.ParentTx}); tl.Parent == 1 && at.Tx > 1 {
							w.verifyAt(at)
						} else if tl.Parent == 0 && strings.HasPrefix(hurt, segment.LogPrefix(1)) {
							t.Errorf("timeline %+v: the snapshot was shipped again", tl)
						}
						w.follow()
					})
				})
			}
		}
	}
}

// The same when it is found while the database is shipped.
func TestReplicaDamagedWhileShipping(t *testing.T) {
	for object := range 6 {
		bubble(t, func(t *testing.T) {
			w := shipped(t, true)
			w.cfg.BatchBytes = 2000
			w.start()
			w.position()
			synctest.Wait()
			w.damageObject(w.segments(1)[object], func(b []byte) []byte { return b[:len(b)/2] })
			// A segment that can't be written makes it ask the replica for what that has.
			nowhere := filepath.Join(w.sh.cfg.StateDir, "nowhere")
			w.sh.cfg.StateDir = nowhere
			w.src.commit(CommitFrames, w.txOn(300, 300))
			time.Sleep(time.Minute)
			if err := os.Mkdir(nowhere, 0o700); err != nil {
				t.Fatal(err)
			}
			w.flush()
			w.commit(1)
			w.flush()
			if st := w.sh.Status(); st.Durable != (replica.Pos{Timeline: 2, Tx: 8}) || st.Err != nil {
				t.Errorf("status %+v", st)
			}
			w.commit(1)
			w.stop()
			w.verify()
		})
	}
}

// The first snapshot of a timeline for pages of another size is damaged: the next timeline has its own, and the one before
// the change gets none.
func TestDamagedSnapshotOfAnotherPageSize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.vacuum(1024, CommitFrames)
		w.flush()
		w.stop()
		if err := os.Remove(filepath.Join(w.sh.cfg.StateDir, pagesFile)); err != nil {
			t.Fatal(err)
		}
		before := w.segments(1)
		w.damageObject(w.segments(2)[0], nil)
		w.follow()
		if after := w.segments(1); !slices.Equal(after, before) {
			t.Errorf("timeline 1 was %v, and is %v", before, after)
		}
		if st := w.resizedTo(3, 1024, replica.Pos{Timeline: 1, Tx: 6}); !strings.Contains(st.Notice, "damaged") {
			t.Errorf("status %+v", st)
		}
	})
}
