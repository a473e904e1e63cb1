// Package cli is what the commands have in common: how they print what comes from a replica, how long they wait for a store,
// and what a wrong command line is.
package cli
