// Package compaction keeps what a restore has to read bounded, however long a replica lives.
//
// A replica gets a log segment a second. [Run] merges them: what was committed within a slot of the clock becomes one
// segment, in which each page is listed once.
//
//	level 1   5 minutes
//	level 2   an hour
//	level 3   a day
//
// Slots are those of the commit times in UTC, so the end of a merged segment is a point that people can name. Level 2 is made
// of level 1, and so on; what is the only object of its slot stays as it is. When restoring costs more behind the newest
// snapshot than from a new one, Run makes one, from the replica alone.
//
// Nothing is deleted, and nothing that is there is changed: every point that could be restored before can be restored
// afterwards, from the same log. A process that ships to the replica meanwhile is not disturbed, and two of Run at once do no
// harm: names say what an object holds, and a name is created only once.
//
//	run.go      which timelines and levels, and when a snapshot is due
//	level.go    slot by slot through a timeline
//	pieces.go   which objects lead through it
//	merge.go    the net effect of many transactions
//	runs.go     what of it doesn't fit into memory
//	snapshot.go a snapshot of what the replica itself restores
//
// # What is verified
//
// Every block that is read, by its checksum, and the chain: the checksum of the database that a segment begins with is the
// one that the segment in front of it ends with. What was created is read back to its end. A merged segment carries the page
// checksums of the log, so that a restore proves every page of it, and a snapshot is made of a restore that was proven.
//
// # Memory and disk
//
// [Options.Memory] for pages, 8 MiB for segments that are fetched ahead, and what one Encoder and one Decoder take. What is
// more goes to nameless files in [Options.TempDir]: up to the size of a merged segment, twice; for a snapshot the size of the
// database, twice.
package compaction
