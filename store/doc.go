// Package store is where replicas are kept: the contract of a store (Store), the
// URLs that name one (Open, Register), the store on a folder, which is built in
// as file:///path, and what goes around every store: Retry, Limit and Count,
// composed in one place by Stack.
//
// The stores in the cloud live below this folder, one small package each, which
// register themselves when imported, so that an app links only what it uses:
//
//	import _ "seawal/store/gcs"
//
// What a correct store is, storetest defines; what a bad day looks like,
// faultstore can script.
//
// A segment's leg through here: package shipper calls Create, which goes through
// Retry (waits and repeats), Limit (takes from the budget) and Count (tells
// Status), and ends in a store as one new object. restore and internal/replica
// come back with List, Stat and Read. Nothing is ever overwritten.
package store
