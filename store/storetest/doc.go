// Package storetest is the one definition of a correct store.Store: Run is the
// suite that every store and every decorator passes, and NewMemory a store in
// memory for the tests of what is built on stores.
package storetest
