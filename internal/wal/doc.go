// Package wal reads SQLite's write-ahead log: the frames that SQLite itself would
// take from it after a crash, verified the way SQLite verifies them, and not one
// more. It never writes, takes no locks and needs no SQLite.
//
// The file is a header and then frames of one size, all numbers big-endian:
//
//	header   0  4  magic 0x377f0682; 0x377f0683 when the checksums read big-endian words
//	         4  4  version 3007000
//	         8  4  page size, a power of two from 512 to 65536
//	        12  4  checkpoint sequence number
//	        16  4  salt-1, one more at each restart of the log
//	        20  4  salt-2, random at each restart
//	        24  8  checksum of bytes 0 to 23
//	frame    0  4  page number
//	         4  4  of a commit frame: size of the database in pages after the commit; else 0
//	         8  8  salts, those of the header or the frame is left from an older generation
//	        16  8  checksum that runs over the header's checksum, then bytes 0 to 7 and the page of every frame
//	        24     page
//
// The running checksum chains the frames: a frame is valid only behind all the
// frames before it. A restart begins at frame 1 with new salts and leaves what
// was there before to be overwritten. The salts name a generation, and a [Place]
// is the end of one frame in one generation.
//
// # A log that is being written
//
// Reading beside a writer is safe as long as the caller takes only frames that it
// knows to be committed, or starts again from its last commit when the chain ends
// inside a transaction:
//
//   - A transaction that outgrows the page cache writes frames before it commits.
//     It may roll back; the next one overwrites them.
//   - It may also overwrite page images in frames that it has written. SQLite then
//     rewrites the checksums from there on, last of all. Who read such frames
//     before holds images and a chain that are no longer those of the file.
//   - A log that others restart starts again at frame 1, under the reader. What it
//     finds there carries other salts, and the chain ends.
package wal
