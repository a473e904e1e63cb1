package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"seawal/internal/testserver/proxy"
	"seawal/store"
	"seawal/store/storetest"
)

// Everything that is asked of a store holds for one that has versions in place of conditions.
func TestStoreByVersions(t *testing.T) {
	newB2(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), fmt.Sprintf("s3://bucket/versions-%d?create=versions", n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// Of many that create one name at once, one wins at the most, whoever reads it gets what that one wrote, and a name that nobody
// got can be created afterwards.
func TestCreateByVersionsHasOneWinner(t *testing.T) {
	newB2(t)
	const writers = 8
	for round := range 5 {
		name := fmt.Sprintf("contested-%d", round)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				s, err := store.Open(t.Context(), "s3://bucket/race?create=versions")
				if err != nil {
					errs[i] = err
					return
				}
				defer s.Close()
				errs[i] = s.Create(t.Context(), name, store.BytesBody([]byte{byte(i)}))
			})
		}
		wg.Wait()
		s, err := store.Open(t.Context(), "s3://bucket/race?create=versions")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("%s: both %d and %d were told that they created it", name, winner, i)
			case err == nil:
				winner = i
			case store.IsPermanent(err):
				t.Errorf("%s: writer %d: %v", name, i, err)
			}
		}
		if winner < 0 {
			for i := 0; ; i++ {
				err := s.Create(t.Context(), name, store.BytesBody([]byte{writers}))
				if err == nil {
					winner = writers
					break
				}
				if i == 3 {
					t.Fatalf("%s: nobody got it, and nobody can: %v", name, err)
				}
			}
		}
		r, err := s.Read(t.Context(), name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || len(got) != 1 || int(got[0]) != winner {
			t.Errorf("%s: %v, %v; want what writer %d wrote", name, got, err, winner)
		}
	}
}

// A writer that died before it took its version away changes nothing for readers.
func TestLaterVersionIsNotRead(t *testing.T) {
	newB2(t)
	p := proxy.NewHTTP(t, strings.TrimPrefix(os.Getenv("AWS_ENDPOINT_URL_S3"), "http://"))
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+p.Addr())
	s, err := store.Open(t.Context(), "s3://bucket/left?create=versions")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	// The listing that it looks at first is of before, and it can take nothing away.
	p.Inject(proxy.Query(http.MethodGet, "versions"), 1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		fmt.Fprint(w, "<ListVersionsResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListVersionsResult>")
	})
	p.Inject(proxy.Method(http.MethodDelete), -1, proxy.Answer(http.StatusServiceUnavailable, ""))
	if err := s.Create(t.Context(), "a", store.BytesBody([]byte("another"))); !errors.Is(err, store.ErrExist) {
		t.Fatalf("create: %v; want ErrExist", err)
	}
	for _, list := range []bool{false, true} {
		if list {
			for o, err := range s.List(t.Context(), "", "") {
				if err != nil || o.Name != "a" || o.Size != 7 {
					t.Errorf("listed: %+v, %v", o, err)
				}
			}
		}
		r, err := s.Read(t.Context(), "a", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != "content" {
			t.Errorf("read %q, %v", got, err)
		}
		r.Close()
	}
}

func TestBucketWithoutVersionsIsRefused(t *testing.T) {
	_, bucket := server(t)
	s, err := store.Open(t.Context(), "s3://"+bucket+"/x?create=versions")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); !store.IsPermanent(err) || !strings.Contains(err.Error(), "switch versioning on") {
		t.Errorf("create: %v", err)
	}
}
