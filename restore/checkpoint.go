package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"seawal/internal/fsops"
	"seawal/internal/wal"
)

// checkpointInto brings what the WAL of a database holds into the database, as SQLite would at its next open, so that the database
// is whole without it. SQLite may have died in the middle of a checkpoint: a database that loses its WAL then is older at best, and
// neither old nor new at worst. Nobody else may have the database open. A WAL that SQLite would ignore, and one beside
// something that isn't its database, is left alone.
func checkpointInto(db *os.File, walPath string) error {
	log, err := os.Open(walPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close() // read only
	h, err := wal.ReadHeader(log)
	var corrupt *wal.CorruptError
	if err == io.EOF || errors.Is(err, wal.ErrTorn) || errors.As(err, &corrupt) || err == nil && !isDatabase(db, h.PageSize) {
		return nil
	}
	if err != nil {
		return err
	}
	frames, size, err := committed(log, h)
	if err != nil || len(frames) == 0 {
		return err
	}
	// Before the first page changes: after a loss of power the WAL has to be there to finish what began here.
	if err := fsops.Sync(log); err != nil {
		return fmt.Errorf("sync the WAL: %w", err)
	}
	page := make([]byte, h.PageSize)
	for _, n := range slices.Sorted(maps.Keys(frames)) {
		if n > size {
			continue
		}
		if _, err := log.ReadAt(page, h.FrameOffset(frames[n])+wal.FrameHeaderSize); err != nil {
			return fmt.Errorf("read WAL frame %d: %w", frames[n], err)
		}
		if _, err := db.WriteAt(page, int64(n-1)*int64(h.PageSize)); err != nil {
			return fmt.Errorf("write page %d: %w", n, err)
		}
	}
	if err := db.Truncate(int64(size) * int64(h.PageSize)); err != nil {
		return fmt.Errorf("set size of the database: %w", err)
	}
	if err := fsops.Sync(db); err != nil {
		return fmt.Errorf("sync the database: %w", err)
	}
	return nil
}

// committed returns the last committed frame of each page, and the size of the database after it, pages.
func committed(log io.ReaderAt, h wal.Header) (frames map[uint32]uint32, size uint32, err error) {
	frames = map[uint32]uint32{}
	open := map[uint32]uint32{} // of a transaction whose commit hasn't come yet
	r := wal.NewReader(log, h, h.Start())
	for {
		var f wal.Frame
		if err := r.Next(&f); err == io.EOF {
			return frames, size, nil
		} else if err != nil {
			return nil, 0, err
		}
		open[f.Page] = f.Index
		if f.Commit != 0 {
			size = f.Commit
			maps.Copy(frames, open)
			clear(open)
		}
	}
}

// isDatabase says whether a file begins as a database with pages of this size does.
func isDatabase(db io.ReaderAt, pageSize int) bool {
	head := make([]byte, 18)
	if _, err := db.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte(sqliteMagic)) {
		return false
	}
	size := int(head[16])<<8 | int(head[17])
	if size == 1 {
		size = 65536
	}
	return size == pageSize
}
