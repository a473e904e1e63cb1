// Package reliability keeps the ledger of faults that the tests inject, from which docs/RELIABILITY.md is written.
//
// A test that has injected a fault, and has counted what was lost by it, says so with one call, at its end:
//
//	reliability.Record(t, reliability.Fault{
//		Group: reliability.Power,
//		Name:  "the log is cut at any byte",
//		How:   "the -wal file is truncated to every length, also inside a frame, and opened again",
//	}, cuts, lost)
//
// lost is what the test counted: acknowledged transactions that are gone, points that restore something else, bytes
// that differ. The test fails unless it is 0. A count that isn't the same in every run has to have a floor, which the test
// then holds to: Fault.AtLeast. The table shows the floor, since that is what is promised.
//
// A test may record several faults, and a fault may be recorded by several tests or subtests of one package: their
// counts are added up, and Name and How must be spelled alike. Nothing is written unless the environment variable
// SEAWAL_RELIABILITY names a file, and nothing by a test that fails.
//
// make test collects the ledger and fails where the table in docs/ says something else: a fault that it lacks, one that
// no test records, another description, another count. After a change:
//
//	make reliability                              runs all tests and writes the table
//	make reliability PKG='./vfs ./shipper'        runs these alone, and replaces their rows
//	make reliability PKG=./vfs TESTFLAGS=-short   flags of go test; every test that records has to run
package reliability
