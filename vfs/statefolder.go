//go:build cgo

package vfs

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"seawal/internal/fsops"
	"seawal/shipper"
	"seawal/store"
)

// replicaFile is a file of a state folder that says, for a person and for stateFolder, of which replica it is.
const replicaFile = "replica"

// stateFolder is where the state of one of a database's replicas, a normalised URL, is kept: beside the database in "<db>-seawal",
// or in a folder of its own in there: one of several, or one that comes after another one. A replica keeps its folder when others come and
// go: without it, seawal would have to take it for one that somebody else has written to, and with that of another one
// it would take one replica for the other.
func stateFolder(path, replica string, replicas int) string {
	top := path + shipper.StateSuffix
	h := fnv.New64a()
	h.Write([]byte(replica)) // never fails
	own := filepath.Join(top, fmt.Sprintf("%016x", h.Sum64()))
	switch is := folderOf(top); {
	case is == replica:
		return top
	case is != "", replicas > 1, folderOf(own) == replica:
		return own
	}
	return top
}

// folderOf is the replica that a state folder belongs to; "" for none.
func folderOf(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, replicaFile))
	return strings.TrimSpace(string(b))
}

// claimStateFolder makes the state folder of a replica and says in it whose it is. What fails here fails in the shipper
// too, which says so and tries again.
//
// Which folder it is depends on what other processes have claimed. Two that open a new database at once, with lists of replicas
// that differ, would each find the top folder free: one replica would get two folders, and with them two locks and two writers. So
// looking and claiming are one step, under a lock that the kernel drops when a process dies.
func claimStateFolder(path, replica string, replicas int) string {
	top := path + shipper.StateSuffix
	if os.MkdirAll(top, 0o700) == nil {
		defer lockFolder(top)()
	}
	dir := stateFolder(path, replica, replicas)
	if folderOf(dir) != replica && os.MkdirAll(dir, 0o700) == nil {
		writeOwner(dir, replica)
	}
	return dir
}

// writeOwner says in a state folder whose it is. Who reads meanwhile, without the lock, sees the one before or this one, never half a
// line; nor does who reads after a loss of power, who would take the folder for nobody's.
func writeOwner(dir, replica string) {
	name := filepath.Join(dir, replicaFile)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, err = f.WriteString(replica + "\n")
	if errors.Join(err, fsops.Sync(f), f.Close()) == nil && fsops.Rename(name+".new", name) == nil {
		_ = fsops.SyncDir(dir)
	}
}

// claimPatience is how long an application's open waits for another process that claims a folder, which takes that one microseconds.
const claimPatience = 2 * time.Second

// lockFolder takes the lock of a folder, until unlock. Where it can't be had nothing is locked: the locks of the state folders
// themselves still keep two processes from shipping with one state.
func lockFolder(dir string) (unlock func()) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for deadline := time.Now().Add(claimPatience); ; time.Sleep(100 * time.Microsecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || err != syscall.EWOULDBLOCK && err != syscall.EINTR || time.Now().After(deadline) {
			return func() { f.Close() } // nothing was written
		}
	}
}

// formerReplicas are the URLs that a database was replicated to, but for those that it has now.
func formerReplicas(path string, replicas []string) (all []shipper.Former) {
	for _, dir := range otherStateFolders(path, "") {
		if url := folderOf(dir); !slices.Contains(replicas, url) {
			all = append(all, shipper.Former{Dir: dir, URL: store.Redact(url)})
		}
	}
	return all
}

// otherStateFolders are those of a database's other replicas, present and former.
func otherStateFolders(path, dir string) []string {
	top := path + shipper.StateSuffix
	others := []string{top}
	entries, _ := os.ReadDir(top) // there may be none
	for _, e := range entries {
		if e.IsDir() {
			others = append(others, filepath.Join(top, e.Name()))
		}
	}
	return slices.DeleteFunc(others, func(other string) bool { return other == dir })
}
