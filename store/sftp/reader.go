package sftp

import (
	"context"
	"io"

	"github.com/pkg/sftp"

	"seawal/store"
)

// How much a reader asks for at once, and how many such pieces it asks for before they are wanted. The first is asked for
// alone, since most reads are of a few pages.
const (
	pieceSize  = 256 << 10
	readyAhead = 4
)

// piece is a part of a file that is being read.
type piece struct {
	step *step[[]byte]
	buf  []byte
}

// reader reads a range of a file, ahead of who reads it.
type reader struct {
	s    *files
	c    *session
	ctx  context.Context
	file *sftp.File
	name string

	next, end int64   // of the file; what isn't asked for yet
	ahead     int     // pieces to be asked for at once
	coming    []piece // in order
	now       []byte  // what is left of the piece that is being read
	spare     []byte
	err       error // sticky
}

// newReader reads n bytes from off on, which the file has. It owns the file and a use of the connection.
func newReader(ctx context.Context, s *files, c *session, file *sftp.File, name string, off, n int64) *reader {
	r := &reader{s: s, c: c, ctx: ctx, file: file, name: name, next: off, end: off + max(n, 0), ahead: 1}
	r.fill()
	return r
}

// fill asks for what comes next.
func (r *reader) fill() {
	for len(r.coming) < r.ahead && r.next < r.end {
		n, off := min(pieceSize, r.end-r.next), r.next
		buf := r.spare
		if r.spare = nil; int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		file := r.file // a step may outlive the reader
		step := start(r.c, func() ([]byte, error) {
			k, err := file.ReadAt(buf, off)
			if k == len(buf) {
				return buf, nil
			}
			if err == nil || err == io.EOF { // shorter than it was a moment ago
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}, nil)
		r.coming = append(r.coming, piece{step, buf})
		r.next += n
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.now) == 0 && r.err == nil {
		r.err = r.advance()
	}
	if len(r.now) == 0 {
		return 0, r.err
	}
	n := copy(p, r.now)
	r.now = r.now[n:]
	return n, nil
}

// advance waits for the next piece.
func (r *reader) advance() error {
	if err := r.ctx.Err(); err != nil {
		return r.s.wrap(r.ctx, store.OpRead, r.name, err)
	}
	if len(r.coming) == 0 {
		return io.EOF
	}
	first := r.coming[0]
	r.coming = r.coming[1:]
	b, err := first.step.wait(r.ctx, r.s.patience)
	if err != nil {
		return r.s.wrap(r.ctx, store.OpRead, r.name, err)
	}
	r.now = b
	r.ahead = min(r.ahead+1, readyAhead)
	r.fill()
	return nil
}

// Close implements io.Closer. What was asked for and isn't wanted any more comes and is thrown away.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	for _, p := range r.coming {
		p.step.drop()
	}
	closeLater(r.c, r.file)
	r.s.release(r.c)
	r.file, r.coming, r.now, r.err = nil, nil, nil, io.ErrClosedPipe
	return nil
}
