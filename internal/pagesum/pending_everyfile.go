//go:build seawal_everyfile

package pagesum

// PendingByte is the offset in a database file that SQLite locks instead of storing anything there. SQLite's own tests
// move it to 64 KiB, so that small files have such a page too: vfs follows them, before it opens a database.
var PendingByte int64 = 1 << 30
