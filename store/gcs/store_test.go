package gcs_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
	_ "seawal/store/gcs"
	"seawal/store/storetest"
)

func TestMain(m *testing.M) { storetrial.Main(m) }

var buckets atomic.Int64

// server starts the service, with the environment that leads to it, and makes a bucket.
func server(t *testing.T) (addr, bucket string) {
	t.Helper()
	s := testserver.GCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", s.Addr)
	bucket = fmt.Sprintf("bucket-%d", buckets.Add(1))
	testserver.MakeGCSBucket(t, s, bucket)
	return s.Addr, bucket
}

func TestStore(t *testing.T) {
	_, bucket := server(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), fmt.Sprintf("gs://%s/some/prefix %%25-%d/", bucket, n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
