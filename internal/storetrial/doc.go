// Package storetrial is what every store goes through with its real server, beside the conformance that storetest
// asks for: an application that is killed (Kill), a network that fails while others write (Outage), what a
// person may have got wrong (BadInput, Refused), somebody who may only read (ReadOnly), and objects that the service
// keeps (Kept). The tests of each store say only how its server is reached.
package storetrial
