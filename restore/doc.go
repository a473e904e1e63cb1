// Package restore rebuilds a database file from its replica, byte for byte, as
// of any transaction that the replica holds.
//
// The way back of a transaction, one file of this package for each hop:
//
//	history.go   which timelines lead to the target, and which objects lie on them
//	target.go    what is asked for: the newest point, a transaction, a moment
//	locate.go    the transaction that a moment means, by reading few footers
//	plan.go      snapshot, merged and log segments that reach it
//	witness.go   whether the log says of them what they do
//	ends.go      where each log segment ends, so that there is no gap
//	apply.go     the database being rebuilt, in a temporary file beside the output
//	snapshot.go  blocks of the snapshot, fetched and decoded in parallel
//	stream.go    merged and log segments, fetched and decoded ahead, applied in order
//	pages.go     page images between decoder and file
//	verify.go    checksum of the whole database, read-back, fsync
//	output.go    the temporary file takes the output's name
//	replace.go   where another database has it
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
// only a crash can leave it behind, and it may then be deleted. It is readable by its owner alone, unless it replaces a file: then it has that
// one's mode and owner.
//
// Options.Force replaces a database that nobody uses (replace.go). Whether somebody does is asked at the start, and again right before
// the new file takes the place, with SQLite's own locks held on the old one from then on, so that nobody commits to a file that is about to go.
// Before its log is moved aside what that holds is brought into the old database: after a crash at any moment there is the old
// database, whole, or the new one. Log, index, journal and state of the old one lie under ".app.db.replaced-wal-<random>" and the like for a
// moment; only a journal, of a transaction that a crash had cut off before, has to be moved back by hand if there is another crash just then.
//
// Locks don't show a connection that is idle in a rollback journal mode. On Linux it is found among the open files of the processes that
// may be looked at: those of the same user, all for root. Elsewhere, and of other users, it is not found.
//
// # Memory
//
// At most about 64 MiB beyond the size of the checksum table (8 bytes a page),
// whatever the size of the database, of its segments or of one transaction.
package restore
