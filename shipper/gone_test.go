package shipper

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// inFolder is shipped with its replica in a folder, which every process opens anew.
func inFolder(t *testing.T) (w *world, root string) {
	t.Helper()
	w = newWorld(t, t.TempDir())
	root = filepath.Join(t.TempDir(), "mount")
	folder := func() store.Store {
		s, err := store.OpenFolder(root)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w.store = folder()
	w.open = func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
		return store.Stack(folder(), store.StackOptions{Retry: store.RetryPolicy{OnError: onError}}), nil
	}
	w.offline(w.txOn(12, 30))
	w.start()
	w.position()
	for range 3 {
		w.commit(2)
		w.flush()
	}
	return w, root
}

// isGone wants every question answered with ErrReplicaGone, in words that lead out.
func (w *world) isGone(t *testing.T, last replica.Pos) {
	t.Helper()
	err := w.sh.Flush(t.Context())
	var g *GoneError
	if !errors.As(err, &g) || !errors.Is(err, ErrReplicaGone) {
		t.Fatalf("flush: %v, want %v", err, ErrReplicaGone)
	}
	if g.Last != last || g.Replica.IsZero() {
		t.Errorf("gone: %+v, want %v", g, last)
	}
	for _, word := range []string{last.String(), g.Replica.String(), w.m.path, "Mount or put back", "remove " + w.sh.cfg.StateDir} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q isn't in %v", word, err)
		}
	}
	if err := w.sh.Wait(t.Context(), last); !errors.Is(err, ErrReplicaGone) {
		t.Errorf("a wait for what was durable in it: %v, want %v", err, ErrReplicaGone)
	}
	if st := w.sh.Status(); !errors.Is(st.Err, ErrReplicaGone) || st.Mode == ModeStopped {
		t.Errorf("status %+v", st)
	}
}

// A replica that had something isn't there any more: at the start of a process, or under a running one. Nothing is created,
// nothing is confirmed, and when it is there again shipping goes on where it was.
func TestReplicaIsGone(t *testing.T) {
	places := map[string]func(t *testing.T, root string){
		"no folder":       func(*testing.T, string) {},
		"an empty folder": func(t *testing.T, root string) { mustDo(t, os.Mkdir(root, 0o755)) },
		"another database's replica": func(t *testing.T, root string) {
			s, err := store.OpenFolder(root)
			mustDo(t, err)
			mustDo(t, replica.CreateReplica(t.Context(), s, replica.Replica{ID: segment.NewID(), PageSize: testPage, Created: time.Now(), Name: "other"}))
		},
	}
	for place, make := range places {
		for _, when := range []string{"at the start", "at the start, after a kill", "at the start, as an older version left it", "while running", "while running, before anything was shipped"} {
			t.Run(place+", "+when, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w, root := inFolder(t)
					defer func() { _ = w.kill() }() // where something was wrong
					last := w.sh.Durable()
					switch when {
					case "at the start", "while running, before anything was shipped":
						w.stop()
					case "at the start, after a kill":
						_ = w.kill() // all is durable
						st, err := readState(w.sh.cfg.StateDir)
						mustDo(t, err)
						st.Position, st.After = replica.Pos{}, "" // as when nothing but the position file tells
						mustDo(t, writeState(w.sh.cfg.StateDir, st))
					case "at the start, as an older version left it":
						w.stop()
						mustDo(t, os.Remove(filepath.Join(w.sh.cfg.StateDir, positionFile)))
					}
					if when == "while running, before anything was shipped" {
						w.start()
						w.position()
					}
					mustDo(t, os.Rename(root, root+"-away"))
					make(t, root)
					before := w.files(root)
					if strings.HasPrefix(when, "at the start") {
						w.start()
					}
					w.commit(2)
					time.Sleep(time.Minute)
					w.isGone(t, last)
					if after := w.files(root); after != before {
						t.Errorf("in its place there was\n%s\nand there is\n%s", before, after)
					}
					if place != "no folder" {
						mustDo(t, os.Rename(root, root+"-wrong"))
					}
					mustDo(t, os.Rename(root+"-away", root))
					time.Sleep(time.Minute)
					w.flush()
					w.commit(1)
					w.flush()
					w.stop()
					w.verify()
					if st := w.sh.Status(); st.Err != nil || st.Durable.Timeline != 1 || st.Snapshots > 1 {
						t.Errorf("status %+v", st)
					}
					reliability.Record(t, reliability.Fault{Group: reliability.Durable, Name: "the replica isn't there any more",
						How: "the folder of the replica is unmounted, emptied or another one, at a start or under the running process, and mounted again later; what was confirmed meanwhile is counted"}, 1, 0)
				})
			})
		}
	}
}

// Who removes the state directory begins a new replica on purpose.
func TestReplicaIsBegunAnewOnPurpose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, root := inFolder(t)
		w.stop()
		mustDo(t, os.RemoveAll(root))
		w.loseFolder()
		clear(w.want)
		w.follow()
	})
}

// A listing that shows nothing, of a replica that has something, is no reason to begin a timeline with the whole database.
func TestEmptyListingIsNotBelieved(t *testing.T) {
	for _, state := range []string{"as it was saved", "lost but for the position file", "lost"} {
		t.Run(state, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, false)
				switch state {
				case "lost":
					w.loseFolder()
				case "lost but for the position file":
					st, err := readState(w.sh.cfg.StateDir)
					mustDo(t, err)
					st.Position, st.After = replica.Pos{}, ""
					mustDo(t, writeState(w.sh.cfg.StateDir, st))
				}
				f := &unlisted{Store: w.store}
				f.isEmpty.Store(true)
				w.open = func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
					return store.Stack(noClose{f}, store.StackOptions{Retry: store.RetryPolicy{OnError: onError}}), nil
				}
				before := w.objects()
				w.start()
				time.Sleep(time.Minute + time.Second) // between two tries
				if after := w.objects(); after != before {
					t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
				}
				if st := w.sh.Status(); state != "as it was saved" && st.Err == nil {
					t.Errorf("status %+v", st)
				}
				f.isEmpty.Store(false)
				time.Sleep(time.Minute)
				w.commit(1)
				w.flush()
				w.stop()
				w.verify()
				if st := w.sh.Status(); st.Snapshots > 0 {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files is what is in a folder.
func (w *world) files(root string) (all string) {
	w.t.Helper()
	synctest.Wait()
	_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			all += path + "\n"
		}
		return nil
	})
	return all
}

// unlisted is a store whose listings are empty for a while.
type unlisted struct {
	store.Store
	isEmpty atomic.Bool
}

func (u *unlisted) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	if u.isEmpty.Load() {
		return func(func(store.Object, error) bool) {}
	}
	return u.Store.List(ctx, prefix, after)
}

// Of a replica that something was durable in, replica.json alone is left, as of a rule that expires what is old: nothing is begun in its place.
func TestReplicaOfWhichTheDocumentIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		for o, err := range w.store.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if o.Name == segment.ReplicaName {
				continue
			}
			if err := w.store.Delete(t.Context(), o.Name); err != nil {
				t.Fatal(err)
			}
		}
		before := w.objects()
		w.start()
		w.src.commit(CommitFrames, w.tx(1))
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrReplicaGone) {
			t.Errorf("flush: %v", err)
		}
		if after := w.objects(); after != before {
			t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
		}
		_ = w.kill() // nothing is shipped
	})
}
