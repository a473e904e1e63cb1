// Package powervfs takes the power away from a database, for tests. A VFS notes what is done to the files of a database;
// from that follows what a disk may hold when the power fails: all that was synced, and of the
// rest any part. A history of a database is several lives, each in the folder that the one before has left.
//
//	v, err := powervfs.Register("power")
//	v.FailAt(40)                           // the 40th change from now on is the last one
//	... open "file:app.db?vfs=power", write until that fails, close ...
//	for path, content := range v.Survivors(r) { ... }   // what is there when the power is back
//	v.Reset()
//
//	power.c   the VFS
//	power.go  its Go side
//	disk.go   what a disk may hold
package powervfs

// #cgo CFLAGS: -std=gnu11 -Wall -Wextra -Werror -I${SRCDIR}/../sqliteabi
// #cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
// #cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
// #include <stdlib.h>
// #include "power.h"
import "C"

import (
	"fmt"
	"math/rand/v2"
	"unsafe"

	_ "github.com/mattn/go-sqlite3" // the SQLite that power.c calls

	_ "seawal/internal/sqliteabi" // its header
)

// VFS is a registered VFS. Its methods may be called from any goroutine, but where they say otherwise.
type VFS struct {
	name string
	c    *C.PowerVfs
}

// Register adds a VFS of that name over SQLite's default one, for the life of the process.
func Register(name string) (*VFS, error) {
	zName := C.CString(name)
	defer C.free(unsafe.Pointer(zName))
	v := &VFS{name: name}
	if rc := C.seawalPowerRegister(zName, &v.c); rc != 0 {
		return nil, fmt.Errorf("powervfs: register %q: SQLite error %d", name, rc)
	}
	return v, nil
}

// Name is the name to open databases with.
func (v *VFS) Name() string { return v.name }

// FailAt has the power fail at the n-th change from now: a write, a sync, the making, truncating or removing of a file. That
// change may reach the disk in part. 0: it doesn't fail.
func (v *VFS) FailAt(n int) { C.seawalPowerFailAt(v.c, C.sqlite3_int64(n)) }

// Fail has it fail now.
func (v *VFS) Fail() { C.seawalPowerOff(v.c) }

// Failed says whether it has.
func (v *VFS) Failed() bool { return C.seawalPowerIsOff(v.c) != 0 }

// SyncFile notes that a file was synced by somebody else, under the path that SQLite knows it by.
func (v *VFS) SyncFile(path string) {
	zName := C.CString(path)
	defer C.free(unsafe.Pointer(zName))
	C.seawalPowerSynced(v.c, zName)
}

// SyncFolder notes that the folder of the files was synced by somebody else: what SQLite made or removed there is durable.
func (v *VFS) SyncFolder() { C.seawalPowerFolder(v.c) }

// Reset begins another life: all is forgotten, and the power is on. No file may be open.
func (v *VFS) Reset() { C.seawalPowerReset(v.c) }

// Survivors is what a disk may hold now that the power has failed: the content of each file that is there, by its full
// path. What is left to chance r decides.
func (v *VFS) Survivors(r *rand.Rand) map[string][]byte {
	d := disk{}
	var op C.PowerOp
	for i := 0; C.seawalPowerOp(v.c, C.sqlite3_int64(i), &op) != 0; i++ {
		d.do(operation{
			kind: int(op.eOp), name: C.GoString(op.zName), arg: int64(op.iArg),
			data: C.GoBytes(unsafe.Pointer(op.pData), op.nData),
		})
	}
	return d.survivors(r)
}

// The kinds of operation.
const (
	opOpen     = C.POWER_OPEN
	opCreate   = C.POWER_CREATE
	opWrite    = C.POWER_WRITE
	opTruncate = C.POWER_TRUNCATE
	opSync     = C.POWER_SYNC
	opDelete   = C.POWER_DELETE
	opFolder   = C.POWER_FOLDER
)
