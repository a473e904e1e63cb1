// Package segment is the object format of a replica: how transactions and
// snapshots of a database lie in the store, and under which names. FORMAT.md
// beside this file is the specification, byte by byte; testdata holds
// objects that every later version has to read.
//
// There is one object type for three kinds. A Log segment holds every
// transaction between two numbers, so any of them is a restore point. A Merged
// segment holds the net effect of several, each page once. A Snapshot holds
// every page of the database. Each is a header, compressed blocks, an index
// and a footer of fixed size, so that one ranged read of the tail tells a
// planner all it needs (ReadInfo).
//
// The way out: an Encoder takes transactions page by page and writes to an
// io.Writer. The way back: a Decoder streams a whole object and verifies all of
// it; ReadIndex and Index.Decode read single blocks, in parallel. Pages are
// stored whole or as a Delta, the XOR with the image before (AppendDelta,
// ApplyDelta, MergeDelta).
//
// A fourth kind of object holds no transactions: a Close ends the log of a timeline, see there.
//
// Nothing that is read is trusted: memory stays bounded (see FORMAT.md,
// "Limits") whatever the lengths say, and an object that was cut short
// (ErrTorn), damaged (*CorruptError) or written by a later version
// (*VersionError) is told apart.
package segment
