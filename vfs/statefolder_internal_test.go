package vfs

import (
	"path/filepath"
	"sync"
	"testing"

	"seawal/internal/fsops/powertest"
)

// Processes that open a new database at once, with lists of replicas that differ, agree about the state folder of each replica: one
// that had two would have two locks, and be made twice.
func TestStateFoldersAreClaimedOnce(t *testing.T) {
	lists := [][]string{{"a"}, {"b"}, {"a", "b"}, {"b", "a"}}
	for round := range 100 {
		path := filepath.Join(t.TempDir(), "app.db")
		claimed := make([]map[string]string, len(lists)) // folder by replica, as each process has it
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i, list := range lists {
			claimed[i] = map[string]string{}
			all.Go(func() {
				<-begin
				for _, replica := range list {
					claimed[i][replica] = claimStateFolder(path, replica, len(list))
				}
			})
		}
		close(begin)
		all.Wait()
		folders := map[string]string{}
		for i, list := range lists {
			for _, replica := range list {
				folder := claimed[i][replica]
				if known, ok := folders[replica]; ok && known != folder {
					t.Fatalf("round %d: replica %s has the folders %s and %s", round, replica, known, folder)
				}
				folders[replica] = folder
				if owner := folderOf(folder); owner != replica {
					t.Fatalf("round %d: the folder of replica %s says that it is %q's", round, replica, owner)
				}
			}
		}
		if folders["a"] == folders["b"] {
			t.Fatalf("round %d: two replicas have the folder %s", round, folders["a"])
		}
	}
}

// Whose a state folder is outlives a loss of power: an empty answer would give the folder to whoever comes first.
func TestOwnerOfAStateFolderLosesPower(t *testing.T) {
	dir := t.TempDir()
	file := ""
	disk := powertest.Watch(t, dir, func(l powertest.Left) string {
		if content, exists, whole := l.Content(file); exists && (!whole || string(content) != "file:///a\n") {
			return "it belongs to " + string(content)
		}
		return ""
	})
	file = filepath.Join(dir, replicaFile)
	writeOwner(dir, "file:///a")
	if _, exists, _ := disk.Settled().Content(file); !exists {
		t.Error("it belongs to nobody")
	}
}
