package wal

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

// testLog builds a log as SQLite writes it.
type testLog struct {
	h   Header
	sum [2]uint32
	b   []byte
}

func newTestLog(pageSize int, salt [2]uint32, bigEndian bool) *testLog {
	l := &testLog{h: Header{PageSize: pageSize, Seq: 7, Salt: salt, bigEndian: bigEndian}}
	magic := uint32(magicLittle)
	if bigEndian {
		magic = magicBig
	}
	for _, v := range []uint32{magic, version, uint32(pageSize), l.h.Seq, salt[0], salt[1]} {
		l.b = binary.BigEndian.AppendUint32(l.b, v)
	}
	l.sum = l.h.Checksum([2]uint32{}, l.b)
	l.h.Cksum = l.sum
	l.b = append32(l.b, l.sum)
	return l
}

func append32(b []byte, v [2]uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, v[0]), v[1])
}

func (l *testLog) add(page, commit uint32, data []byte) {
	head := append32(nil, [2]uint32{page, commit})
	l.sum = l.h.Checksum(l.h.Checksum(l.sum, head), data)
	head = append32(append32(head, l.h.Salt), l.sum)
	l.b = append(append(l.b, head...), data...)
}

// filler is a page image that depends on n.
func filler(pageSize, n int) []byte {
	b := make([]byte, pageSize)
	for i := range b {
		b[i] = byte(i*7 + n*13 + i/256)
	}
	return b
}

// frames reads everything behind from and copies it.
func frames(t testing.TB, r io.ReaderAt, h Header, from Place) ([]Frame, Place) {
	t.Helper()
	rd := NewReader(r, h, from)
	var all []Frame
	for {
		var f Frame
		err := rd.Next(&f)
		if err == io.EOF {
			return all, rd.Place()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
}

func sameFrames(a, b []Frame) bool {
	return slices.EqualFunc(a, b, func(a, b Frame) bool {
		return a.Index == b.Index && a.Page == b.Page && a.Commit == b.Commit && bytes.Equal(a.Data, b.Data)
	})
}

// recoverNaively is the specification of the Reader: SQLite's recovery, one frame
// at a time, from a whole log in memory.
func recoverNaively(log []byte) (h Header, all []Frame, err error) {
	if h, err = ParseHeader(log); err != nil {
		return h, nil, err
	}
	sum := h.Cksum
	for rest := log[HeaderSize:]; len(rest) >= h.FrameSize(); rest = rest[h.FrameSize():] {
		f, data := ParseFrameHeader(rest), rest[FrameHeaderSize:h.FrameSize()]
		sum = h.Checksum(h.Checksum(sum, rest[:8]), data)
		if f.Page == 0 || f.Salt != h.Salt || f.Cksum != sum {
			break
		}
		all = append(all, Frame{Index: uint32(len(all)) + 1, Page: f.Page, Commit: f.Commit, Data: data})
	}
	return h, all, nil
}

// apply returns the database that a file and the log beside it stand for.
func apply(t testing.TB, db, log []byte) []byte {
	t.Helper()
	h, err := ReadHeader(bytes.NewReader(log))
	if err != nil {
		return db // whatever is wrong with the header: to SQLite the log is empty
	}
	all, _ := frames(t, bytes.NewReader(log), h, h.Start())
	for len(all) > 0 && all[len(all)-1].Commit == 0 {
		all = all[:len(all)-1]
	}
	if len(all) == 0 {
		return db
	}
	out := make([]byte, int(all[len(all)-1].Commit)*h.PageSize)
	copy(out, db)
	for _, f := range all {
		if off := int(f.Page-1) * h.PageSize; off < len(out) {
			copy(out[off:], f.Data)
		}
	}
	return out
}
