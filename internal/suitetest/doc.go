// Package suitetest runs go-sqlite3's own tests through seawal.
//
// The driver's module is copied to a temporary folder, where a test file is added that imports seawal/vfs with the build tag
// seawal_everyfile (vfs/everyfile.go). Its test binary then runs three times:
//
//	plain    as its authors run it
//	vfs      SQLite's default VFS is seawal's: every database file that the tests open is replicated to a folder
//	driver   sql.Open("sqlite3", ...) is the driver seawal, with a replica for each file
//
// Every test has to end as it does plain, and each file that is closed for the last time has to be what restore makes of
// its replica, byte for byte.
package suitetest
