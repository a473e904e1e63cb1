// Package replica knows what a replica is beside its segments: which database
// it is of (replica.json), which timelines it has and where each comes from
// (timeline.json), what a position in it is called ([Pos]), where it ends
// ([Newest]) and which checksum every page had at a position ([TableAt]).
//
//	replica.json              format version, id, page size of the first timeline; created once
//	00000001/timeline.json    parent timeline and transaction, page size, reason, writer
//	00000001/log/...          log segments, named by their first transaction: see package segment; and at the end of a
//	                          timeline that was taken over its close, under the name of the next segment
//	00000001/merged/...       merged segments
//	00000001/snapshot/...     snapshots
//	00000002/timeline.json    the next timeline, which left its parent at ParentTx
//
// Both documents are JSON and never change once they are there; the last field is a checksum of the rest (XXH3-64), in every
// format version; documents from before there was one lack it. They are written
// create-if-absent: who creates a timeline first owns it. A lost acknowledgement is
// told from a lost race by reading back, because each document carries the random
// id of its writer. What they say can be found in the segments again (found.go).
//
// A timeline holds the transactions behind the point where it left its parent;
// what came before is the parent's, up to that point. [Lineage] follows the
// parents of a position to the root. [PageSizeAt] says how large its pages are: a timeline with
// another page size than the point where it left its parent begins with a snapshot.
//
// # Errors
//
// A missing document is store.ErrNotExist, wrapped. One that can't be understood
// is a *[CorruptError], and one of a later format a *[VersionError]; both name the
// object. Where the segments tell what it said, it is no error, but Replica.Damage or Timeline.Damage. Segments report the errors of package segment, with the name of the
// object filled in. Everything here may be called from any goroutine.
package replica
