//go:build !cgo

package vfs

// Capture is written in C, beneath the SQLite of go-sqlite3. A build without cgo would get neither, and ends here with an
// error whose text is all that the compiler shows.
var _ = seawal_needs_cgo__build_with_CGO_ENABLED_1_and_a_C_compiler
