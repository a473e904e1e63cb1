package vfs

// RandomStatement is one step of a random workload, for the tests from outside.
var RandomStatement = randomStatement
