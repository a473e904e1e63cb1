// Package crashtest kills an application that writes through seawal, again and
// again, and asks two questions after each kill: does the local database go on with every
// acknowledged transaction, and is the replica alone a committed prefix that holds everything
// that Wait had confirmed?
//
//	go test ./internal/crashtest        two hundred kills, some minutes; -short: a few, under the race detector if it is asked for
//	make soak SECONDS=600               for as long as one likes
//	make soak SEED=17 SOAKFLAGS='-kinds power -histories 1'    one history again (timing differs: repeat it)
//
// A history is one database with its replica, or two in one process, and several incarnations of the
// process that writes them. The last one closes, the others end
//
//	kill    by SIGKILL at a random moment
//	power   likewise, and then the log is cut at a random byte
//	point   one of them by SIGKILL at a named point in the sources (internal/killpoint), be it in shim, shipper or restore
//
// Journal mode, page size, locking_mode, who checkpoints, the sizes of ring and log, and how the store fails are drawn from the
// seed. A failed history keeps its folder and prints its seed.
//
//	job.go       what an incarnation is told, and the events that it reports
//	book.go      the tables: each transaction is a multi-row group with a checksum row, chained to the one before
//	workload.go  the process that writes, until it is killed
//	weather.go   its store, which fails
//	process.go   starting it, reading its events, killing it at one of them
//	history.go   kinds of histories, and the incarnations of one
//	database.go  what must hold between incarnations
//	replica.go   what the replica alone gives back
//	power.go     loss of power
//	points.go    finding the points, and killing a process at each: it is an error if none gets there
//	recipes.go   what leads to them
//	rebuild.go   the process that restores
//	campaign.go  many histories, some at a time
//	cmd          the program of make soak, and of the test
//
// # What is checked after a kill
//
// A copy of the database file and its log, opened by plain SQLite, and later the next incarnation through
// seawal, hold every acknowledged transaction; integrity_check is ok. The
// restored replica is one of the states that the database went through (the chain of its last
// transaction is found in the local one), and holds what was confirmed.
// Points whose content was noted while nobody wrote are restored by number and have exactly that content. There
// is one snapshot and one timeline in the replica, as long as no power was lost and the state folder is there. After the clean close
// the restored file equals the source, byte for byte. A restore that was killed has left the whole new file, or what was there before.
package crashtest
