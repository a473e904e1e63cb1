//go:build !seawal_everyfile

package pagesum

// PendingByte is the offset in a database file that SQLite locks instead of storing anything there.
const PendingByte int64 = 1 << 30
