package shipper

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// infos is what each segment of the replica says of itself.
func (w *world) infos() (all []segment.Info) {
	w.t.Helper()
	ctx := context.Background()
	for o, err := range w.store.List(ctx, "0", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := segment.ParseName(o.Name); err != nil {
			continue
		}
		_, info, err := replica.Inspect(ctx, w.store, o)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, info)
	}
	return all
}

// A replica that was made before there were keys goes on as it began: programs of then read all of it. A new one has a key, which every
// segment tells.
func TestReplicaKeepsItsKey(t *testing.T) {
	for name, keyed := range map[string]bool{"made before there were keys": false, "new": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				ctx := context.Background()
				if !keyed {
					// Begun by a process before.
					st := &state{Format: stateFormat, Replica: segment.NewID(), Writer: segment.NewID()}
					dir := w.m.path + StateSuffix
					if err := os.MkdirAll(dir, 0o700); err != nil {
						t.Fatal(err)
					}
					if err := writeState(dir, st); err != nil {
						t.Fatal(err)
					}
					r := replica.Replica{ID: st.Replica, PageSize: testPage, Created: time.Now(), Name: "app.db"}
					if err := replica.CreateReplica(ctx, w.store, r); err != nil {
						t.Fatal(err)
					}
				}
				var key pagesum.Key
				for life := range 3 {
					w.start()
					for range 5 {
						w.commit(4)
						w.flush()
					}
					w.stop()
					w.verify()
					if life == 1 {
						w.offline(w.tx(3))
						w.m.set(w.m.state()) // found by reading every page
					}
					rep, err := replica.ReadReplica(ctx, w.store)
					if err != nil {
						t.Fatal(err)
					}
					if (rep.Key != 0) != keyed || life > 0 && rep.Key != key {
						t.Errorf("the replica has %v (%v), want %v", rep.Key, rep.Key == key, keyed)
					}
					key = rep.Key
				}
				for _, info := range w.infos() {
					if info.Key != key {
						t.Errorf("%v segment %d has %v, the replica has %v", info.Kind, info.First, info.Key, key)
					}
				}
			})
		})
	}
}

// colliding is two contents of a page with one sum in a replica without a key; see the test of pagesum for how.
func colliding(page uint32) (a, b []byte) {
	const key0, key12 = 0xbe4ba423396cfeb8, 0x3f349ce33f76faa8 // of XXH3
	for try := range uint32(100) {
		a = bytes.Repeat([]byte{0x5a, byte(try), 0xc3, 0x0f}, 1024)
		binary.LittleEndian.PutUint32(a, binary.LittleEndian.Uint32(a[12*64:])^uint32((key0+uint64(page))&(1<<32-1))^uint32((key12+uint64(page))&(1<<32-1)))
		b = bytes.Clone(a)
		b[7] ^= 0x80
		b[12*64+7] ^= 0x80
		if pagesum.Unkeyed.Of(page, a) == pagesum.Unkeyed.Of(page, b) {
			return a, b
		}
	}
	return nil, nil
}

// Two contents with one sum are two contents, wherever the first one is at hand: in the cache, or in the file.
func TestEqualSumsAreNotEqualPages(t *testing.T) {
	emptyPools()
	const page = 2
	a, b := colliding(page)
	if a == nil {
		t.Fatal("no two pages collide")
	}
	for _, cached := range []bool{true, false} {
		s, m := encoderFor(t, t.TempDir(), len(a), 2)
		if !cached {
			s.cache = newImageCache(len(a), -1)
		}
		m.pages = image{make([]byte, len(a)), a}
		m.file = m.pages.clone()
		for i, content := range [][]byte{a, b} {
			frame := make([]byte, wal.FrameHeaderSize, wal.FrameHeaderSize+len(a))
			binary.BigEndian.PutUint32(frame, page)
			c := &Commit{Kind: CommitFrames, PageSize: len(a), PageCount: 2, Frames: [2][]byte{append(frame, content...), nil}}
			if err := s.encodeFrames(c, transaction{number: uint64(i + 1), span: 1, time: int64(i + 1), pageCount: 2}); err != nil {
				t.Fatal(err)
			}
		}
		info, err := s.batch.enc.Close(wal.Place{})
		if err != nil {
			t.Fatal(err)
		}
		if info.Pages != 2 {
			t.Errorf("cached %v: %d pages were shipped of two commits", cached, info.Pages)
		}
		s.dropBatch()
	}
}
