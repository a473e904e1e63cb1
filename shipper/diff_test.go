package shipper

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

// liveSource is a source whose log is what it is now, as a file is: fakeSource's is what it was when it was opened.
type liveSource struct{ *fakeSource }

func (s liveSource) WAL() (WALFile, error) { return liveLog{s.m}, nil }

type liveLog struct{ m *model }

func (l liveLog) ReadAt(p []byte, off int64) (int, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return bytes.NewReader(l.m.log).ReadAt(p, off)
}

func (liveLog) Close() error { return nil }

// overwrite starts the log again and commits to every page, whoever reads the old one. The file keeps its length.
func (m *model) overwrite() {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.log
	m.restartLocked()
	var all []change
	for page := len(m.pages); page > 0; page-- {
		all = append(all, change{uint32(page), bytes.Repeat([]byte{0xee}, m.pageSize)})
	}
	m.applyLocked(all, uint32(len(m.pages)))
	m.log = append(m.log, old[min(len(old), len(m.log)):]...)
}

// The log is written over while a pinned state is read. What the file has of that is read there; what was read of the log counts for
// nothing, or the state would have pages of another one, all with the right checksums.
func TestLogIsOverwrittenUnderPinnedState(t *testing.T) {
	emptyPools() // it compresses outside of a bubble
	for name, read := range map[string]func(s *Shipper, p *pinned) (pagesum.Sum, error){
		"sums": func(s *Shipper, p *pinned) (pagesum.Sum, error) {
			table, err := p.sums(t.Context(), s.hasher)
			if err != nil {
				return 0, err
			}
			return table.Total(), nil
		},
		"snapshot": func(s *Shipper, p *pinned) (pagesum.Sum, error) {
			b := &snapshotBody{ctx: t.Context(), p: p, hasher: s.hasher, table: pagesum.New(), tx: segment.Tx{Number: 1, Span: 1, PageCount: p.PageCount()}}
			var err error
			b.enc, err = segment.NewEncoder(&b.out, segment.Header{Kind: segment.Snapshot, PageSize: testPage, Timeline: 1, First: 1, Replica: s.id, Writer: s.writer})
			if err == nil {
				err = b.enc.Begin(b.tx)
			}
			if err == nil {
				_, err = io.Copy(io.Discard, b)
			}
			return b.table.Total(), err
		},
		"difference": func(s *Shipper, p *pinned) (pagesum.Sum, error) {
			err := s.shipDiff(t.Context(), p, transaction{number: 1, span: 1, time: 1}, nil)
			return s.table.Total(), err
		},
	} {
		for _, inFile := range []bool{true, false} {
			where := map[bool]string{true: "all of it is in the file", false: "nothing of it is in the file"}[inFile]
			t.Run(name+"/"+where, func(t *testing.T) {
				s, m := encoderFor(t, t.TempDir(), testPage, 0)
				src := liveSource{newFakeSource(m)}
				s.src = src
				var all []change
				for page := range uint32(20) {
					all = append(all, change{page + 1, bytes.Repeat([]byte{byte(page + 1)}, testPage)})
				}
				src.commit(CommitFrames, tx{changes: all, pageCount: 20})
				if inFile {
					m.backfill()
				}
				want := m.state().total(s.hasher)
				p, err := s.pin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				m.overwrite()
				switch got, err := read(s, p); {
				case !inFile && !errors.Is(err, errMoved):
					t.Errorf("read from a log that was written over: %v, %v", got, err)
				case inFile && (err != nil || got != want):
					t.Errorf("%v, %v; want %v", got, err, want)
				}
			})
		}
	}
}
