//go:build seawal_everyfile

package vfs

// With the build tag seawal_everyfile, programs that know nothing of seawal have every database file of theirs
// replicated, and compared with its replica when it is closed for the last time. internal/suitetest runs
// go-sqlite3's own tests so. The environment says how:
//
//	SEAWAL_EVERYFILE=vfs       SQLite's default VFS is seawal's, under whatever driver
//	SEAWAL_EVERYFILE=driver    sql.Open("sqlite3", ...) is the driver seawal; go-sqlite3's own must have another name then
//	SEAWAL_EVERYFILE_DIR=/dir  where the replicas go, and a file "book" with a line of JSON for each comparison

/*
#include <stdlib.h>
#include "sqlite_abi.h"
#include "everyfile.h"
*/
import "C"

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"seawal/internal/pagesum"
	"seawal/restore"
	"seawal/store"
)

// everyFile is a database file that was opened at some time.
type everyFile struct {
	path string

	mu         sync.Mutex // held while the file is being closed for the last time, and compared
	opens      int
	closes     int        // times that it was closed for the last time
	generation int        // of a path whose file was removed, each has a replica of its own
	connector  *connector // what keeps it replicated: with SEAWAL_EVERYFILE=vfs while it is open, and longer if it stays
}

// A file that is opened and closed without end stays attached after it was closed as often as staysAfter, and is compared
// each time that is a multiple of compareEach only.
const (
	staysAfter  = 50
	compareEach = 1000
)

// staysLocked counts a last close and says whether the file stays attached.
func (f *everyFile) staysLocked() bool {
	f.closes++
	return f.closes > staysAfter && f.closes%compareEach != 0
}

var every struct {
	dir   string
	lower string // name of the VFS that was the default one

	mu      sync.Mutex // for the rest
	files   map[string]*everyFile
	handles map[uint64]*everyFile // of open databases
}

func init() {
	every.dir = os.Getenv("SEAWAL_EVERYFILE_DIR")
	every.files, every.handles = map[string]*everyFile{}, map[uint64]*everyFile{}
	switch mode := os.Getenv("SEAWAL_EVERYFILE"); mode {
	case "":
	case "driver":
		sql.Register("sqlite3", everyDriver{})
	case "vfs":
		everyRegister(true)
	default:
		panic("SEAWAL_EVERYFILE is vfs or driver, not " + mode)
	}
}

// everyRegister makes the shim SQLite's default VFS.
func everyRegister(replicated bool) {
	every.lower = C.GoString(C.sqlite3_vfs_find(nil).zName)
	shim := DriverName + "-" + every.lower // as connector.open names it
	if err := registerShim(shim, every.lower); err != nil {
		panic(err)
	}
	name := C.CString(shim)
	defer C.free(unsafe.Pointer(name))
	rc := C.int(sqliteOK)
	if replicated {
		rc = C.seawal_everyfile_register(name)
	} else {
		rc = C.seawal_everyfile_pass(name)
	}
	if rc != sqliteOK {
		panic(fmt.Sprintf("registering the default VFS: SQLite error %d", int(rc)))
	}
}

// everyFileAt finds the file of a full path.
func everyFileAt(path string) *everyFile {
	every.mu.Lock()
	defer every.mu.Unlock()
	f := every.files[path]
	if f == nil {
		f = &everyFile{path: path}
		every.files[path] = f
	}
	return f
}

// replicaDir is where the replica of the file's generation goes. Its name follows from the path alone, since several
// processes of a test may open one file.
func (f *everyFile) replicaDir() string {
	sum := sha256.Sum256([]byte(f.path))
	return filepath.Join(every.dir, fmt.Sprintf("%x-%d", sum[:8], f.generation))
}

// beginLocked counts an opening in. A file that is new in the place of another one gets a new replica.
func (f *everyFile) beginLocked() {
	if f.opens++; f.opens > 1 {
		return
	}
	fi, err := os.Stat(f.path)
	isNew := errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0
	if isNew {
		_ = f.detachLocked() // it stayed, and its file is gone
	}
	if f.connector != nil {
		return
	}
	for f.generation = 0; ; f.generation++ {
		if _, err := os.Stat(f.replicaDir()); err != nil {
			break
		}
	}
	if !isNew && f.generation > 0 {
		f.generation-- // the newest that there is, whoever made it
	}
}

// detachLocked ends the replication of a file that nobody has open.
func (f *everyFile) detachLocked() error {
	c := f.connector
	if c == nil {
		return nil
	}
	f.connector = nil
	if c.db != nil {
		every.mu.Lock()
		delete(every.handles, c.db.handle)
		every.mu.Unlock()
	}
	return c.Close()
}

func (f *everyFile) config() Config {
	return Config{
		Replica: "file://" + f.replicaDir(), VFS: every.lower,
		Interval: 20 * time.Millisecond, RingBytes: minRingBytes, CloseTimeout: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler), // what it says in the midst of a test's output is in the book too
	}
}

// comparison is a line of the book.
type comparison struct {
	Path    string `json:"path"`
	Outcome string `json:"outcome"`         // same; differs, failed; and without a comparison: gone, empty, no database, in memory
	Size    int    `json:"size"`            // bytes of the file
	SHA256  string `json:"sha256"`          // of the file, for a comparison
	Reason  string `json:"reason,omitzero"` // of what failed
}

// compareLocked restores the newest point and compares it with the file, which nobody has open. closed is what closing it said.
func (f *everyFile) compareLocked(closed error) {
	c := comparison{Path: f.path}
	file, err := os.ReadFile(f.path)
	c.Size = len(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Outcome = "gone"
	case err == nil && len(file) == 0:
		c.Outcome = "empty"
	case err == nil && !bytes.HasPrefix(file, []byte("SQLite format 3\x00")):
		c.Outcome = "no database"
	default:
		var restored []byte
		if err = errors.Join(err, closed); err == nil {
			restored, err = f.restored()
		}
		c.SHA256 = fmt.Sprintf("%x", sha256.Sum256(file))
		switch {
		case err != nil:
			c.Outcome, c.Reason = "failed", err.Error()
		case bytes.Equal(file, restored):
			c.Outcome = "same"
		default:
			c.Outcome, c.Reason = "differs", fmt.Sprintf("%d bytes in the file, %d restored", len(file), len(restored))
		}
	}
	if err := writeBook(c); err != nil {
		panic(err)
	}
}

// restored is the newest point of the file's replica.
func (f *everyFile) restored() ([]byte, error) {
	s, err := store.Open(context.Background(), f.config().Replica)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	// To put one file in the place of another, all open files of the machine would be looked through for it.
	dir, err := os.MkdirTemp(every.dir, "restored-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "restored.db")
	if _, err := restore.Run(context.Background(), s, restore.Options{Output: out, Check: restore.CheckFull}); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

func writeBook(c comparison) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	every.mu.Lock()
	defer every.mu.Unlock()
	book, err := os.OpenFile(filepath.Join(every.dir, "book"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = book.Write(append(line, '\n'))
	return errors.Join(err, book.Close())
}

// everyDriver is the driver seawal with a replica for every file.
type everyDriver struct{}

var _ driver.DriverContext = everyDriver{}

func (everyDriver) Open(dsn string) (driver.Conn, error) { return (&Driver{}).Open(dsn) }

func (everyDriver) OpenConnector(dsn string) (driver.Connector, error) {
	plain := &Driver{}
	t, err := parseDSN(dsn, plain.cfg)
	if err != nil || t.path == "" || t.cfg.VFS != "" {
		return plain.OpenConnector(dsn)
	}
	path, err := filepath.Abs(t.path)
	if err != nil {
		return nil, err
	}
	f := everyFileAt(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beginLocked()
	c, err := (&Driver{cfg: f.config()}).OpenConnector(dsn)
	if err != nil {
		f.opens--
		return nil, err
	}
	return &everyConnector{c.(*connector), f}, nil
}

// everyConnector compares when the last one of its file is closed.
type everyConnector struct {
	*connector
	file *everyFile
}

func (c *everyConnector) Close() error {
	c.file.mu.Lock()
	defer c.file.mu.Unlock()
	if c.file.opens--; c.file.opens > 0 {
		return c.connector.Close()
	}
	stays := c.file.staysLocked()
	if stays && c.file.connector == nil {
		c.file.connector = c.connector
		return nil
	}
	err := c.connector.Close()
	if !stays {
		err = errors.Join(err, c.file.detachLocked())
		c.file.compareLocked(err)
	}
	return err
}

// open makes the tap of the file before SQLite opens it.
func (f *everyFile) open(readOnly bool) (handle uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beginLocked()
	defer func() {
		if err != nil {
			f.opens--
		}
	}()
	mode := "rwc"
	if readOnly {
		mode = "ro"
	}
	if f.connector == nil {
		cfg := f.config()
		cfg.Checkpoint = CheckpointApp // nobody sets up the connections
		t, err := parseDSN(fileURI(f.path)+"?"+url.Values{"mode": {mode}}.Encode(), cfg)
		if err != nil {
			return 0, err
		}
		c := &connector{target: t}
		db, err := c.open(context.Background())
		if err != nil {
			return 0, err
		}
		f.connector = c
		every.mu.Lock()
		every.handles[db.handle] = f
		every.mu.Unlock()
		return db.handle, db.release() // the connector has another
	}
	db := f.connector.db
	db.retain(mode) // our own connections may have to write from now on
	return db.handle, db.release()
}

// close gives one opening back.
func (f *everyFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opens--; f.opens > 0 || f.staysLocked() {
		return
	}
	f.compareLocked(f.detachLocked())
}

func everyFileOf(handle C.uint64_t) *everyFile {
	every.mu.Lock()
	defer every.mu.Unlock()
	return every.handles[uint64(handle)]
}

//export seawalGoEveryOpen
func seawalGoEveryOpen(name *C.char, isReadOnly C.int) C.uint64_t {
	// Nothing is open while it is moved, and so nothing reads it.
	if at := int64(C.seawal_everyfile_pending()); at != pagesum.PendingByte {
		pagesum.PendingByte = at
	}
	path := C.GoString(name)
	handle, err := everyFileAt(path).open(isReadOnly != 0)
	if err != nil {
		if err := writeBook(comparison{Path: path, Outcome: "failed", Reason: err.Error()}); err != nil {
			panic(err)
		}
		return 0
	}
	return C.uint64_t(handle)
}

//export seawalGoEveryOpened
func seawalGoEveryOpened(handle C.uint64_t) {
	f := everyFileOf(handle)
	if err := f.connector.db.start(context.Background()); err != nil {
		if err := writeBook(comparison{Path: f.path, Outcome: "failed", Reason: err.Error()}); err != nil {
			panic(err)
		}
	}
}

//export seawalGoEveryClosed
func seawalGoEveryClosed(handle C.uint64_t) { everyFileOf(handle).close() }
