// Package vfstest watches SQLite at work, for tests. Register puts a tracing
// VFS over any other one: every call that SQLite makes on its files becomes an
// Event, and chosen calls fail in chosen ways.
//
// Over the real VFS it records what SQLite does (the facts that package vfs rests
// on). Beneath another shim, registered first and named as that shim's lower
// VFS, it records what the shim lets through and injects the faults it has to
// survive. Tracing VFSes stack.
//
//	tr, err := vfstest.Register("traced", "", vfstest.Options{})
//	db := open("file:app.db?vfs=traced")
//	tr.Take()                                   // forget what opening did
//	exec(db, "INSERT ...")
//	fmt.Print(tr.Take())                        // one word a call
//	f := tr.Fail(vfstest.Rule{Op: vfstest.Sync, Kind: vfstest.WAL, Code: vfstest.IOErrFsync})
//
// One word a call reads like this:
//
//	+WRITE               xShmLock, exclusive, of WAL_WRITE_LOCK
//	+READ1s              the same, shared; +READ1..4 for four slots at once
//	-WRITE{6}            its release, with mxFrame in the wal-index at that moment
//	barrier{4/6}         xShmBarrier, with mxFrame in the header's first and second copy
//	wal.header           a WAL header written
//	wal.frame6(pg3)      the header of frame 6, of page 3
//	wal.frame6(pg3,commit=9)    ... that commits a database of 9 pages
//	wal.frame6(pg3,open)        ... with salts and checksum all zero
//	wal.body6            the page of frame 6
//	wal.frames6-8(pg3)   three whole frames in one write
//	wal?body6            any of these, read instead of written
//	db.page3             page 3 of the database written
//	db.ctl(CKPT_START)   a file control
//	jrnl.sync=IOERR_FSYNC!      a result other than SQLITE_OK; ! when a rule made it
//
// The C half is trace.c. The symbols of SQLite are those of the one SQLite in
// the binary, which go-sqlite3 brings.
package vfstest
