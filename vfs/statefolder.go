package vfs

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"seawal/shipper"
)

// replicaFile is a file of a state folder that says, for a person and for stateFolder, of which replica it is.
const replicaFile = "replica"

// stateFolder is where the state of one of a database's replicas is kept: beside the database in "<db>-seawal",
// or, as one of several, in a folder of its own in there. A replica keeps its folder when others come and
// go: without it, seawal would have to take it for one that somebody else has written to.
func stateFolder(path, replica string, replicas int) string {
	top := path + shipper.StateSuffix
	key := replicaKey(replica)
	h := fnv.New64a()
	h.Write([]byte(key)) // never fails
	own := filepath.Join(top, fmt.Sprintf("%016x", h.Sum64()))
	switch is := folderOf(top); {
	case is == key:
		return top
	case replicas > 1, folderOf(own) == key:
		return own
	}
	return top
}

// replicaKey is a replica's URL without what says how to get there: credentials and parameters.
func replicaKey(replica string) string {
	u, err := url.Parse(replica)
	if err != nil {
		return replica
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// folderOf is the key of the replica that a state folder belongs to; "" for none.
func folderOf(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, replicaFile))
	return strings.TrimSpace(string(b))
}

// claimStateFolder makes the state folder of a replica and says in it whose it is. What fails here fails in the shipper
// too, which says so and tries again.
func claimStateFolder(path, replica string, replicas int) string {
	dir, key := stateFolder(path, replica, replicas), replicaKey(replica)
	if folderOf(dir) != key && os.MkdirAll(dir, 0o700) == nil {
		_ = os.WriteFile(filepath.Join(dir, replicaFile), []byte(key+"\n"), 0o600)
	}
	return dir
}
