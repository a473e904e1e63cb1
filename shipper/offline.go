package shipper

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"seawal/internal/wal"
)

// DBFile is a database file, opened for reading. Closing a descriptor of a file drops every POSIX lock that the process has on it: where
// somebody may have locks, SQLite's VFS has to open it.
type DBFile interface {
	io.ReaderAt
	Size() (int64, error)
	Close() error
}

// osFile is a DBFile that nobody else uses.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func openOSFile(path string) (DBFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// offlineTx is a database that nobody has open, as SQLite would find it: the file, and of the log what ends with
// its last whole commit.
type offlineTx struct {
	file      DBFile
	place     wal.Place
	pageSize  int
	pageCount uint32
}

var _ ReadTx = (*offlineTx)(nil)

func (t *offlineTx) Place() wal.Place  { return t.place }
func (t *offlineTx) InFile() bool      { return false }
func (t *offlineTx) Ticket() uint64    { return 0 }
func (t *offlineTx) Time() int64       { return 0 }
func (t *offlineTx) PageSize() int     { return t.pageSize }
func (t *offlineTx) PageCount() uint32 { return t.pageCount }
func (t *offlineTx) Close() error      { return t.file.Close() }

func (t *offlineTx) ReadFile(page uint32, p []byte) error {
	if n, err := t.file.ReadAt(p, int64(page-1)*int64(len(p))); n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// openOffline reads a database that nobody writes. What it returns has its page index; the caller closes it.
func openOffline(path string, open func(path string) (DBFile, error)) (*pinned, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	t := &offlineTx{file: f}
	p := &pinned{ReadTx: t}
	if err = t.measure(path); err == nil {
		err = p.indexOffline(path+"-wal", t)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// measure takes page size and count from the file: byte 16 of its header, and its length.
func (t *offlineTx) measure(path string) error {
	var b [18]byte
	size, err := t.file.Size()
	if err != nil || size == 0 {
		return err
	}
	if _, err := t.file.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("read the database's header: %w", err)
	}
	t.pageSize = pageSizeOf(b[:])
	if t.pageSize < 512 || t.pageSize&(t.pageSize-1) != 0 {
		return fmt.Errorf("%s is no database: page size %d", path, t.pageSize)
	}
	t.pageCount = uint32(size / int64(t.pageSize))
	return nil
}

// indexOffline finds the end of the log as SQLite's recovery does, and the pages in it.
func (p *pinned) indexOffline(path string, t *offlineTx) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p.log = f
	h, err := readLogHeader(f)
	if errors.Is(err, errMoved) {
		return p.dropLog() // SQLite takes it for empty
	}
	if err != nil {
		return err
	}
	p.header = h
	rd := wal.NewReader(f, h, h.Start())
	var frame wal.Frame
	var numbers []uint32
	for {
		err := rd.Next(&frame)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		numbers = append(numbers, frame.Page)
		if frame.Commit != 0 {
			t.place, t.pageSize, t.pageCount = rd.Place(), h.PageSize, frame.Commit
		}
	}
	if t.place.Frame == 0 {
		return p.dropLog()
	}
	p.place = t.place
	p.frames = make([]uint32, t.pageCount)
	for i, page := range numbers[:t.place.Frame] {
		if page <= t.pageCount {
			p.frames[page-1] = uint32(i + 1)
		}
	}
	return nil
}

func (p *pinned) dropLog() error {
	f := p.log
	p.log = nil
	return f.Close()
}
