// Package killpoint names the moments at which the order of two steps matters, so that tests can kill a process
// exactly there.
//
//	killpoint.Hit("shipper/pages-renamed")   in Go
//	SEAWAL_POINT("shim/published");          in C, see vfs/killpoint.h
//
// Without the build tag seawal_killpoints both are nothing, in the compiled program too. With it, the
// environment SEAWAL_KILL="name:n" makes the n-th arrival (from 1) at that point raise SIGKILL: no
// deferred call runs, no buffer is flushed, as in a kill from outside. SEAWAL_KILL_LOG names a file to which the
// name of each arrival is appended.
//
// internal/crashtest finds the points in the sources, kills a process at each, and fails when it can't get
// to one.
package killpoint
