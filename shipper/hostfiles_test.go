package shipper

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"seawal/internal/replica"
)

// rollForward does what vfs does with what a loss of power has left. In its own directory: the
// model's files stay as they are.
func (h *host) rollForward(j Judgement) *RolledForward {
	dir, err := os.MkdirTemp(h.f.dir, "")
	h.f.must(err)
	path := filepath.Join(dir, "app.db")
	if h.m.log != nil {
		h.f.must(os.WriteFile(path+"-wal", h.m.log, 0o600))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := h.open(ctx, nil)
	h.f.must(err)
	done, err := RollForward(ctx, RollForwardConfig{
		Store: s, DBPath: path, StateDir: h.stateDir(), Judgement: j, Logger: h.cfg.Logger, weakness: h.f.weak,
		Open: func(path string) (DBFile, error) { return h.content(), nil },
		Exclusive: func() (func() error, error) {
			h.tidy(true)
			err := os.Remove(path + "-wal")
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			return func() error { return nil }, err
		},
		Recover: func() error { return h.playBack(path + "-journal") },
		Restore: func(ctx context.Context, pos replica.Pos, out string) error {
			r, err := h.replayTo(ctx, pos)
			if err != nil {
				return err
			}
			return os.WriteFile(out, slices.Concat(r.pages...), 0o600)
		},
	})
	if err != nil {
		h.f.did["not rolled forward"]++
		return nil
	}
	return done
}

// content is the database file.
func (h *host) content() DBFile {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return fakeFile{bytes.NewReader(slices.Concat(h.m.file...))}
}

type fakeFile struct{ *bytes.Reader }

func (f fakeFile) Size() (int64, error) { return f.Reader.Size(), nil }
func (fakeFile) Close() error           { return nil }

// playBack is what SQLite does with a hot journal; and what has to be true of the database then.
func (h *host) playBack(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	be := binary.BigEndian
	records, count, size := int(be.Uint32(b[8:])), int(be.Uint32(b[16:])), int(be.Uint32(b[24:]))
	pages := h.m.state()
	for len(pages) < count {
		pages = append(pages, make([]byte, size))
	}
	at := journalSector
	for range records {
		pages[be.Uint32(b[at:])-1] = bytes.Clone(b[at+4 : at+4+size])
		at += size + 8
	}
	h.m.set(pages[:count])
	h.mu.Lock()
	h.points, h.synced = nil, 0
	h.mu.Unlock()
	h.f.did["rolled forward"]++
	switch {
	case !h.own[digestOf(pages[:count])]:
		h.f.Fatalf("%s was rolled forward to a state that its own state directory never saw", h.name)
	case h.isChosen:
		h.f.Fatalf("%s was rolled forward, and somebody has put an older copy there on purpose", h.name)
	}
	return os.Remove(path)
}

// hostSource is a source that syncs its WAL, and can empty it.
type hostSource struct {
	*fakeSource
	h *host
}

var _ Settler = hostSource{}

// Settle is the last checkpoint of a database that is closed.
func (s hostSource) Settle() error { s.h.tidy(true); return nil }

func (s hostSource) BeginRead(ctx context.Context) (ReadTx, error) {
	r, err := s.fakeSource.BeginRead(ctx)
	if err != nil {
		return nil, err
	}
	return hostRead{r, s.h}, nil
}

type hostRead struct {
	ReadTx
	h *host
}

var _ Syncer = hostRead{}

func (r hostRead) Sync() error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	r.h.synced = len(r.h.points)
	return nil
}
