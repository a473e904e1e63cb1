package shipper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
)

// template is a world with a database of 200 pages that was shipped and went on, and what its first process found.
func template(t *testing.T) (w *world, origin image) {
	t.Helper()
	w = newWorld(t, t.TempDir())
	w.offline(w.txOn(200, 400))
	origin = w.m.state()
	w.follow()
	w.m.checkpoint(true)
	return w, origin
}

// tenant is another world, without a state directory, at the same replica.
func (w *world) tenant(t *testing.T, pages image) *world {
	t.Helper()
	b := newWorld(t, t.TempDir())
	b.store = w.store
	b.m.set(pages)
	return b
}

// A database without a state directory that shares nearly everything with the one of the replica, and isn't at a point of it, isn't taken for
// that: two tenants are made from one template. What a person says with the id counts.
func TestStrangerFromTheSameTemplate(t *testing.T) {
	for name, change := range map[string]func(b *world, w *world){
		"a row of its own":                   func(b, _ *world) { b.offline(b.tx(1)); b.m.checkpoint(true) },
		"its row in its log, and both exist": func(b, _ *world) { b.offline(b.tx(1)) },
		"at the first point, and both exist": func(*world, *world) {},
		"another page size":                  func(b, _ *world) { b.vacuum(1024, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, origin := template(t)
				b := w.tenant(t, origin)
				if change(b, w); name == "a row of its own" {
					mustDo(t, os.Remove(w.m.path)) // on another machine: only the pages tell
				}
				before := w.objects()
				defer func() { _ = b.kill() }() // where something was wrong
				b.cfg.Adopt = segment.NewID()   // says nothing of this replica
				b.start()
				b.src.commit(CommitFrames, b.tx(1))
				_, err := b.sh.Position(t.Context())
				if err == nil || !errors.Is(err, ErrOtherDatabase) || !strings.Contains(err.Error(), "_adopt="+w.sh.id.String()) || !strings.Contains(err.Error(), b.m.path) {
					t.Fatalf("position: %v, want %v and the ways out; status %+v", err, ErrOtherDatabase, b.sh.Status())
				}
				if strings.Contains(name, "both exist") && !strings.Contains(err.Error(), w.m.path) {
					t.Errorf("%v doesn't name %s", err, w.m.path)
				}
				_ = b.kill() // reports what the test wanted
				if after := w.objects(); after != before {
					t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
				}
				b.cfg.Adopt = w.sh.id
				b.follow()
				if st := b.sh.Status(); st.Durable.Timeline != 2 {
					t.Errorf("adopted: status %+v", st)
				}
				reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "a second database at the URL of the first one's replica",
					How: "the two come from one template and differ in a page or two, or in nothing, or the second one began empty; the replica, and what a restore of it gives, stays the first one's"}, 1, 0)
			})
		})
	}
}

// A database that is at a point of the replica, byte for byte, is that one: it was moved, or restored on another machine.
func TestMovedDatabaseWithoutItsFolder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, _ := template(t)
		b := w.tenant(t, w.m.state())
		mustDo(t, os.Remove(w.m.path))
		b.follow()
		if st := b.sh.Status(); st.Durable.Timeline != 2 || st.Snapshots > 0 {
			t.Errorf("status %+v", st)
		}
	})
}

// A database that began empty in an outage meets a replica with content when the store is back.
func TestBeganEmptyAndMeetsAReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, _ := template(t)
		mustDo(t, os.Remove(w.m.path))
		before := w.objects()
		b := w.tenant(t, nil)
		b.cfg.BeganEmpty = true
		b.start()
		time.Sleep(time.Second)
		if _, err := b.sh.Position(t.Context()); !errors.Is(err, ErrReplicaExists) || !strings.Contains(err.Error(), "if-missing") {
			t.Errorf("position: %v, want %v", err, ErrReplicaExists)
		}
		_ = b.kill()
		if after := w.objects(); after != before {
			t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
		}
		b.m.set(w.m.state()) // the same migrations, to the byte
		b.start()
		if _, err := b.sh.Position(t.Context()); !errors.Is(err, ErrReplicaExists) {
			t.Errorf("position: %v, want %v", err, ErrReplicaExists)
		}
		_ = b.kill()
	})
}

// A replica whose database was moved away, linked, or never written down is nobody else's.
func TestOriginHere(t *testing.T) {
	dir := t.TempDir()
	a, b, empty := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "empty.db")
	mustDo(t, errors.Join(os.WriteFile(a, []byte("x"), 0o600), os.WriteFile(empty, nil, 0o600), os.Link(a, filepath.Join(dir, "link.db"))))
	for _, c := range []struct{ name, origin, want string }{
		{"another file", a, a},
		{"the file itself", b, ""},
		{"no file any more", filepath.Join(dir, "moved.db"), ""},
		{"an empty file", empty, ""},
		{"a directory", dir, ""},
		{"not written down", "", ""},
	} {
		if got := OriginHere(replica.Replica{Path: c.origin}, b); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := OriginHere(replica.Replica{Path: filepath.Join(dir, "link.db")}, a); got != "" {
		t.Errorf("the same file by another name: %q", got)
	}
}
