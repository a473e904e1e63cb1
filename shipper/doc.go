// Package shipper brings the commits of one database to its replica: takes them in
// order, encodes them as page deltas, uploads them as log segments, and knows at
// any time which of them are durable. It is pure Go; what it needs of SQLite is
// the interface [Source], which package vfs fills.
//
// # The way of a commit
//
//	Source.Next    a commit: frames in memory, a range of the log, or a gap      queue.go
//	encode         deltas against images proven by checksum; the table of page
//	               checksums moves on; Source.Release                            encode.go log.go diff.go cache.go
//	batch          closes at Interval, at BatchBytes, or when somebody waits     batch.go
//	upload         create-if-absent, one after the other: the fence              upload.go overtaken.go takeover.go
//	durable        waiters wake, Status moves; Source.Forget                     wait.go status.go
//	now and then   the database file is held against the table of page checksums scrub.go damage.go unwritten.go
//
// One transaction number is one ticket of the source: transaction = base + ticket,
// and base is found once, by attaching (attach.go, origin.go, compare.go). Memory is bounded
// by three batches (open, waiting, in flight), the cache of images, the encoder, and
// 8 bytes a page for the table. When the store doesn't keep up, commits stay where they are: in the
// source's ring, then in the log. A transaction larger than a batch goes
// through a file in the state folder.
//
// # Attaching
//
//	database                        replica           then
//	any                             none              new replica, timeline 1, snapshot; [GoneError] where the state directory knows one
//	                                                  that had something: tried again, and nothing is created
//	at the replica's point          exists            go on
//	ahead, the log has all          behind            its transactions, one by one
//	ahead, the log is gone          behind            the difference, as one transaction
//	other pages since a clean       at its point      no transaction wrote that ([Unwritten]): go on from there; the pages are damage,
//	close, and no transaction                         and not shipped, until [Config].Adopt says that the file is right
//	at no point, and its log gone   has more than is  a new timeline, from the newest point that is known to be from here;
//	                                known from here   it begins with the difference
//	at an earlier point             ahead             a loss of power is proven ([Judge]): [RollForward], before the database
//	                                                  is opened; else [BehindError] until it is written, and a new timeline then;
//	                                                  the next open rolls forward. Not proven: brought back on
//	                                                  purpose, a new timeline at once
//	diverged: it was at an earlier  ahead             a new timeline from there, with what its log has behind it, one by one
//	point before what its log has last
//	at no point, after a reboot     exists            a new timeline, which begins with the difference
//	any                             damaged           a new timeline, from the newest point before what is missing or
//	                                                  damaged; where none can be read, one with a snapshot
//	its pages have another size     exists            a new timeline, which begins with a snapshot; without a state folder [ErrOtherDatabase]
//	any                             newest timeline   the next one, from the newest point that the database has: who took
//	                                closed, and none  over was killed in between
//	                                follows
//	another one, or empty           exists            [ErrOtherDatabase]
//	shipped here before             newer timeline    [ErrFenced]
//
// Who is not known to have written the replica's last segment, because its state folder is
// new, opens a new timeline; that of a replica which was moved or copied to another URL is found beside it ([Config.OtherDirs]).
// A replica.json or timeline.json that is damaged or gone is found in the segments, and is no
// reason for one (heal.go). A copy of the state folder continues the same one, until it differs: see
// the fence in upload.go. It has our writer id, too: what is known to be from here is what the state and the position file say, and the segment that was under way (sent.go). A clone that
// was fenced, and is opened again, goes on from there, on a timeline of its own. That the two are at
// one point is proven by the place in the log (its salts and running
// checksum), by the stat of a database file that was closed cleanly, or by reading
// every page.
//
// The page size may change later too, by a VACUUM: what was committed before is shipped, then a new timeline begins with a
// snapshot (resize.go).
//
// # Several processes
//
// The lock of the state folder decides who ships. The others stand by: standby.go. Of a database with several replicas, one process
// gets all the locks: order.go.
//
// # Goroutines
//
//	name      owner     stops when                                      joined
//	drain     Start     Close was called and all is shipped or its      by Close
//	                    context ended; an error that is fatal only
//	                    makes it let go of what is captured
//	uploader  drain     drain has closed its queue of batches           by drain, before it ends
//	look      drain     its request has been answered, or drain ends        by drain
//	hearing   drain     drain gives the lock of the state folder back   by drain
//
// There are no others. A snapshot is uploaded by drain itself, and encoded by
// the reader that the store reads.
//
// # Locks
//
// Shipper.mu guards the fields below it. spares.mu guards the memory of batches, rank.mu what became of the lock of the state folder. None is
// held across I/O or while the other is taken. tellMu comes before mu, and is held while some bytes are written to a local
// file. Everything above mu belongs to the
// drain goroutine; the uploader reads of it what doesn't change once a batch was handed over.
//
// # Errors
//
// What may go away is tried again for ever, and shows in Status at once. The first fatal
// error (see the Err variables) is sticky: it reaches every waiter, and commits are then released
// without being shipped, so that the log isn't held back for nothing.
package shipper
