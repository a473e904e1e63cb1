// Package restore rebuilds a database file from its replica, byte for byte, as
// of any transaction that the replica holds.
//
// The way back of a transaction, one file of this package for each hop:
//
//	history.go   which timelines lead to the target, and which objects lie on them
//	target.go    what is asked for: the newest point, a transaction, a moment
//	locate.go    the transaction that a moment means, by reading few footers
//	plan.go      snapshot, merged and log segments that reach it
//	ends.go      where each log segment ends, so that there is no gap
//	apply.go     the database being rebuilt, in a temporary file beside the output
//	snapshot.go  blocks of the snapshot, fetched and decoded in parallel
//	stream.go    merged and log segments, fetched and decoded ahead, applied in order
//	pages.go     page images between decoder and file
//	verify.go    checksum of the whole database, read-back, fsync
//	output.go    the temporary file takes the output's name
//
// Run does all of it, NewPlan and List look without writing.
//
// # What is verified
//
// Every block and every segment carries its own checksum; every page carries
// the checksum of the image that it has to become, and every transaction that
// of the whole database after it. All of them are compared while the pages are
// written, and the last one is the proof that the file is the source file as of
// that transaction. CheckNone leaves out the hashing of page images (the sums
// that the records declare still have to add up), CheckFull reads the finished
// file back and hashes every page of it again.
//
// A replica.json or timeline.json that is damaged or gone is found in the segments: Result.Avoided and
// Listing.Unreadable name it. Where the segments don't tell, no history that leads over it can be restored, and others can.
//
// # What happens to the output
//
// Nothing, until the file is complete, verified and on stable storage. It is
// built under a hidden name in the output's folder (".app.db.restore-<random>")
// and gets its name last. An error, a full disk and an ended context remove it;
// only a crash can leave it behind, and it may then be deleted. Options.Force
// moves the old database's log and journal aside for a moment, under
// ".app.db.replaced-wal-<random>" and the like; after a crash just then they can be moved back.
//
// # Memory
//
// At most about 64 MiB beyond the size of the checksum table (8 bytes a page),
// whatever the size of the database, of its segments or of one transaction.
package restore
