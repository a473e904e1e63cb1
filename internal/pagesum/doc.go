// Package pagesum holds the checksums that prove the state of a database.
//
// Every page has a [Sum] ([Hasher.Of]) over its number and its content. The checksum of a
// whole database is the XOR of the sums of its pages ([Table.Total]), so a
// transaction changes it by the pages that it touches and by nothing else:
//
//	after = before XOR sum(old image) XOR sum(new image), for each page
//
// A segment carries the checksum of the database before and after it. A chain
// of segments that lost a page, or met it twice, does not add up.
//
// [Table] remembers the sum of every page of one state, 8 bytes a page. It
// answers two questions: is this image the one that the database has (the base
// of a delta has to be), and which pages differ between a file and the state
// that the replica knows.
//
// The sums find accidents, not forgery by those who can write to the replica: XXH3 is not a cryptographic hash, and
// XOR of sums even less so. Those who can only write to the database are kept from choosing pages
// with one sum by a secret of each replica ([Key]).
package pagesum
