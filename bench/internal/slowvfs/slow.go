// Package slowvfs is a disk behind a network, as far as SQLite can tell: a VFS over the default one
// whose syncs, and reads that no cache would answer, take as long as one says. slow.c has the model.
package slowvfs

// #cgo CFLAGS: -std=gnu11 -Wall -Wextra -Werror -I${SRCDIR}/../../../internal/sqliteabi
// #cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
// #cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
// #include <stdlib.h>
// #include "slow.h"
import "C"

import (
	"fmt"
	"sync"
	"time"
	"unsafe"

	_ "github.com/mattn/go-sqlite3" // the SQLite that slow.c calls

	_ "seawal/internal/sqliteabi" // its header
)

// Options say how slow.
type Options struct {
	Sync time.Duration // of xSync, with the time that the real one takes
	Read time.Duration // of each 64 KiB extent of the database that is read for the first time
}

var (
	mu         sync.Mutex // for registered, and for the C side
	registered = map[string]Options{}
)

// Register adds a VFS of that name, for the life of the process. Doing so twice with the same options is
// the same as once. It is safe for concurrent use.
func Register(name string, o Options) error {
	mu.Lock()
	defer mu.Unlock()
	if have, ok := registered[name]; ok {
		if have != o {
			return fmt.Errorf("slowvfs: %q is registered with %+v, not %+v", name, have, o)
		}
		return nil
	}
	zName := C.CString(name)
	defer C.free(unsafe.Pointer(zName))
	if rc := C.seawalSlowRegister(zName, C.longlong(o.Sync), C.longlong(o.Read)); rc != 0 {
		return fmt.Errorf("slowvfs: registering %q: SQLite error %d", name, rc)
	}
	registered[name] = o
	return nil
}
