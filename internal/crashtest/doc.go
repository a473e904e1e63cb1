// Package crashtest kills an application that writes through seawal, again and
// again, and asks two questions after each kill: does the local database go on with every
// acknowledged transaction, and is the replica alone a committed prefix that holds everything
// that Wait had confirmed?
//
//	go test ./internal/crashtest                       about 40 kills, in less than a minute
//	CYCLES=2000 go test ./internal/crashtest -timeout 2h
//	SEED=17 go test ./internal/crashtest -run 'Kill'   one history again (timing differs: repeat it)
//
// A history is one database with its replica, and several incarnations of the
// process that writes it. All but the last one end by SIGKILL, the last one closes. A
// failed history keeps its folder and prints its seed.
//
//	job.go       what an incarnation is told, and the events that it reports
//	book.go      the tables: each transaction is a multi-row group with a checksum row, chained to the one before
//	workload.go  the process that writes, until it is killed
//	process.go   starting it, reading its events, killing it at one of them
//	history.go   the incarnations of one database, and what must hold between them
//	replica.go   what the replica alone gives back
//	power.go     loss of power: the log is cut at a random byte
//
// # What is checked after a kill
//
// A copy of the database file and its log, opened by plain SQLite, and later the next incarnation through
// seawal, hold every acknowledged transaction; integrity_check is ok. The
// restored replica is one of the states that the database went through (the chain of its last
// transaction is found in the local one), and holds what was confirmed.
// Points whose content was noted while nobody wrote are restored by number and have exactly that content. There
// is one snapshot and one timeline in the replica, as long as no power was lost. After the clean close
// the restored file equals the source, byte for byte.
package crashtest
