package shipper

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// counted counts how many requests of each kind a store has answered.
func counted(w *world) *store.Counts {
	counts := new(store.Counts)
	w.open = func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
		return store.Stack(noClose{w.store}, store.StackOptions{Counts: counts, Retry: store.RetryPolicy{OnError: onError}}), nil
	}
	return counts
}

func requests(c *store.Counts) int64 {
	u := c.Usage()
	return u.Create.Requests + u.Read.Requests + u.Stat.Requests + u.List.Requests + u.Delete.Requests
}

// Somebody deletes what the newest point needs: it is noticed, whatever the process is doing, what comes can be restored, and what
// happened is told.
func TestDeletedFromOutside(t *testing.T) {
	objects := map[string]func(w *world) []string{
		"the only snapshot":       func(w *world) []string { all := w.segments(1); return all[len(all)-1:] },
		"a segment in the middle": func(w *world) []string { return w.segments(1)[3:4] },
		"the older half":          func(w *world) []string { return w.segments(1)[:4] },
		"all segments":            func(w *world) []string { return w.segments(1) },
		"what is older than the newest segment": func(w *world) []string {
			all := w.segments(1) // the snapshot comes last
			return append(append(all[:len(all)-2], all[len(all)-1]), segment.ReplicaName, segment.TimelineName(1))
		},
	}
	for what, names := range objects {
		for _, names1000 := range []int{1000, 3} { // of a replica that is larger than a request shows
			for _, when := range []string{"while it ships", "while it is idle", "while it is closed", "while it is closed, after a kill"} {
				t.Run(what+", "+when, func(t *testing.T) {
					defer func(n int) { lookNames = n }(lookNames)
					lookNames = names1000
					if when == "while it ships" {
						lookNames = max(lookNames, 30) // 70 objects in 10 looks
					}
					bubble(t, func(t *testing.T) {
						w := shipped(t, true)
						w.start()
						w.position()
						w.commit(1)
						w.flush()
						time.Sleep(300 * time.Hour) // it has counted by then
						switch when {
						case "while it is closed":
							w.stop()
						case "while it is closed, after a kill":
							_ = w.kill() // all is durable
						}
						gone := names(w)
						for _, name := range gone {
							mustDo(t, w.store.Delete(t.Context(), name))
						}
						if strings.HasPrefix(when, "while it is closed") {
							w.start()
							w.position()
						}
						if when == "while it ships" {
							for range 60 {
								w.src.commit(CommitFrames, w.tx(1))
								time.Sleep(10 * time.Minute)
							}
						} else {
							time.Sleep(300 * time.Hour)
						}
						w.commit(1)
						w.flush()
						st := w.sh.Status()
						if st.Durable.Timeline != 2 || st.Err != nil || st.Health.Word != WordOK {
							t.Errorf("status %+v", st)
						}
						w.commit(1)
						w.stop()
						w.verify()
						if !strings.Contains(st.Notice, "expiry rule") || !strings.Contains(st.Notice, segment.LogPrefix(1)) && !strings.Contains(st.Notice, segment.SnapshotPrefix(1)) {
							t.Errorf("notice %q", st.Notice)
						}
						w.follow()
						reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "objects of the replica are deleted",
							How: "the only snapshot, a segment in the middle, or all that is older, while it is shipped to, idle or closed; the next look leaves the timeline, and what is committed from then on is restored"}, 1, 0)
					})
				})
			}
		}
	}
}

// The bucket is emptied under a running process: the next look says so, and nothing is shipped into the hole.
func TestEmptiedWhileRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.commit(1)
		w.flush()
		last := w.sh.Durable()
		time.Sleep(time.Hour + time.Minute) // the look of the first hour is over
		was := map[string][]byte{}
		for _, name := range strings.Split(w.objects(), "\n") {
			was[name] = w.object(t, name)
			mustDo(t, w.store.Delete(t.Context(), name))
		}
		time.Sleep(24*time.Hour + time.Second)
		w.isGone(t, last)
		if st := w.sh.Status(); st.Health.Word != WordGone {
			t.Errorf("status %+v", st)
		}
		w.commit(1)
		time.Sleep(time.Minute)
		w.isGone(t, last)
		if got := w.objects(); got != "" {
			t.Errorf("shipped into an empty bucket: %s", got)
		}
		for name, content := range was {
			mustDo(t, w.store.Create(t.Context(), name, store.BytesBody(content)))
		}
		time.Sleep(time.Minute)
		w.flush()
		w.stop()
		w.verify()
		if st := w.sh.Status(); st.Err != nil || st.Durable != (replica.Pos{Timeline: 1, Tx: last.Tx + 1}) {
			t.Errorf("status %+v", st)
		}
	})
}

// One request a day while nothing happens, one an hour while something is shipped; none when nobody wants it. A look that fails is no error.
func TestLooksAreFew(t *testing.T) {
	for _, off := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := shipped(t, true)
			counts := counted(w)
			w.cfg.NoLook = off
			w.start()
			w.position()
			time.Sleep(time.Minute)
			before := requests(counts)
			time.Sleep(10 * 24 * time.Hour)
			want := map[bool]int64{false: 10, true: 0}[off]
			if n := requests(counts) - before; n != want {
				t.Errorf("off %v: %d requests in 10 idle days, want %d", off, n, want)
			}
			before = counts.Usage().List.Requests
			for range 100 {
				w.src.commit(CommitFrames, w.tx(1))
				time.Sleep(6 * time.Minute)
			}
			want = map[bool]int64{false: 10, true: 0}[off]
			if n := counts.Usage().List.Requests - before; n < want-1 || n > want+1 {
				t.Errorf("off %v: %d list requests in 10 busy hours, want %d", off, n, want)
			}
			w.stop()
		})
	}
}

func (w *world) object(t *testing.T, name string) []byte {
	t.Helper()
	r, err := w.store.Read(t.Context(), name, 0, -1)
	mustDo(t, err)
	defer r.Close() // read only
	b, err := io.ReadAll(r)
	mustDo(t, err)
	return b
}
