//go:build cgo

// Package vfs registers the database/sql driver "seawal": go-sqlite3 on a SQLite VFS that
// replicates each database to object storage as it is written.
//
//	import _ "seawal/vfs"
//
//	db, err := sql.Open("seawal", "file:app.db?_journal_mode=WAL&_replica=file:///backup/app")
//
// Connections are *sqlite3.SQLiteConn, and every parameter of go-sqlite3 works as before. Without a
// replica (no _replica in the DSN, no SEAWAL_REPLICA in the environment, no Config) the driver
// opens the database as "sqlite3" does, and none of this package is in its way.
//
// # This package's leg of the journey
//
// A commit is captured on SQLite's own thread by shim.c (the files), capture.c (what becomes a commit), pages.c (which pages were written),
// remote.c (where a commit waits for the replica) and consumer.c (what Go takes out); the header comment of shim.c is the manual of capture. It
// leaves this package as a shipper.Commit, through feed.go and source.go. What else is here:
//
//	driver.go, dsn.go, config.go   what the user says
//	database.go                    one replicated file of this process: its tap, its shipper, its checkpointer
//	run.go                         one life of what ships it, to one replica or several
//	feed.go                        captured commits, for the shipper of each replica at its own pace
//	source.go                      the database as the shipper sees it: pinned states, page images
//	statefolder.go                 where the state of each replica is kept
//	limits.go                      what all databases of the process may use together
//	checkpoint.go                  checkpoints, off the writer's path
//	replaced.go                    a file that is deleted, replaced or emptied while it is open
//	poll.go                        looks for commits of other processes while we write nothing
//	remote.go                      commits with durability=remote that wait
//	bridge.go                      all unsafe code, and every function between C and Go
//	api.go, status.go, pragma.go   positions, waiting, status
//	everyfile.go                   with the build tag seawal_everyfile: every database of a program is replicated and compared, for tests
//	everyprogram.go                the same for a program in C, which has this package linked in: SQLite's testfixture
//
// # Goroutines
//
//	name           started by      stops when                   joined by
//	listen         newDatabase     the wake-up pipe is closed   nobody: it ends with the pipe's read end
//	checkpointer   database.start  checkpointer.close           checkpointer.close
//	poller         newPoll         no database is left          nobody: one for the process
//	look           poll.once       it has looked                poll.end
//	shipper's own  shipper.New     Shipper.Close                Shipper.Close
//
// # Locks
//
// databases, then database.mu. connector.mu comes before both. poller, poll.mu, source.mu and feed.mu are taken alone, but
// that poll.mu comes before source.mu. The C
// side's mutexes are the last ones and are never held while Go runs.
package vfs
