package wal

import "fmt"

// Place is a point in a WAL: the end of frame Frame of the generation that
// Salt names. Frame 0 is the start of the generation. The zero Place means
// "not in a WAL" (a database in a rollback journal mode).
type Place struct {
	Salt  [2]uint32 // salt-1 and salt-2 of the WAL header, in the file's byte order read as big-endian
	Frame uint32    // frames are numbered from 1
	Cksum [2]uint32 // running checksum after that frame; of the WAL header when Frame is 0
}

// IsZero says that the place is not in a WAL.
func (p Place) IsZero() bool { return p == Place{} }

// SameGeneration says that p and q lie in the same generation of the WAL.
func (p Place) SameGeneration(q Place) bool { return p.Salt == q.Salt }

// String is "salt1-salt2/frame", salts in hex.
func (p Place) String() string { return fmt.Sprintf("%08x-%08x/%d", p.Salt[0], p.Salt[1], p.Frame) }
