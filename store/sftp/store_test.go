package sftp_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"seawal/internal/testserver"
	"seawal/store"
	_ "seawal/store/sftp"
	"seawal/store/storetest"
)

var folders atomic.Int64

// open returns the store on an empty folder.
func open(t *testing.T) store.Store {
	t.Helper()
	server := testserver.SFTP(t)
	s, err := store.Open(t.Context(), server.URL(server.Addr, fmt.Sprintf("some/prefix %%-%d/", folders.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) { storetest.Run(t, open) }
