// Package testserver finds, starts and stops the servers that the tests of the
// cloud stores talk to. They are the servers' own programs, on loopback; none of
// them is in go.mod. make testservers installs them into .testservers.
//
// The tests of a package share one server of each kind when their TestMain calls
// Main, which stops it at the end; without, each test starts its own:
//
//	func TestMain(m *testing.M) { testserver.Main(m) }
//
// A server is looked for in the folder that SEAWAL_TEST_BIN names, in
// .testservers/bin of the module and on PATH. Where there is none the test is
// skipped; unless SEAWAL_REQUIRE says "all" or has its name in a list with
// commas, in which case the test fails.
//
// Package proxy, below, stands between a store and its server and makes the
// network bad.
package testserver
