package vfs

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"seawal/shipper"
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
func claimStateFolder(path, replica string, replicas int) string {
	dir := stateFolder(path, replica, replicas)
	if folderOf(dir) != replica && os.MkdirAll(dir, 0o700) == nil {
		_ = os.WriteFile(filepath.Join(dir, replicaFile), []byte(replica+"\n"), 0o600)
	}
	return dir
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
