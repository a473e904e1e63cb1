//go:build seawal_everyfile

package vfs

// A program written in C that has this package linked in as an archive is SQLite's own testfixture: test/suites builds
// it. Nothing is registered before it calls seawalGoEveryBegin, since some of its tests configure SQLite first, and its
// processes share a file's replica, since they share the file.

/*
#include "everyfile.h"
*/
import "C"

//export seawalGoEveryBegin
func seawalGoEveryBegin(mode *C.char) {
	switch mode := C.GoString(mode); mode {
	case "pass":
		everyRegister(false)
	case "replicated":
		everyRegister(true)
	default:
		panic("the mode is pass or replicated, not " + mode)
	}
}
