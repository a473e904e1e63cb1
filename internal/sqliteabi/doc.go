// Package sqliteabi holds what our VFSes, which are written in C, need to know of SQLite's interface:
// sqlite_abi.h, found with
//
//	#cgo CFLAGS: -I${SRCDIR}/../internal/sqliteabi
//
// There is no Go code in it. Who includes the header imports the package, so that its files are there wherever
// the importer is built. The go command doesn't build an importer again when only the header has changed.
package sqliteabi
