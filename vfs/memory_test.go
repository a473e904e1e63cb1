package vfs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"seawal/internal/reliability"
	"seawal/shipper"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// memoryChild says that this process is the one that is measured.
const memoryChild = "SEAWAL_TEST_MEMORY_CHILD"

// memoryFigures are what the child reports, in bytes.
type memoryFigures struct {
	Before, Outage, CatchUp int64 // Go's heap after a collection, and anonymous memory outside of it
	PeakRSS                 int64 // of the whole process, the race detector's shadow included
	Written                 int64 // to the log in the outage
	Pages                   int64 // of the database
	Left                    string
}

// Memory is bounded, whatever an outage lets come together: hundreds of megabytes of commits stay in the log. What is held is the
// ring, three segments (open, waiting, in flight), the cache of pages, 8 bytes for each page of the database, and the
// queue of commits. Afterwards no goroutine is left.
func TestMemoryIsBoundedInAnOutage(t *testing.T) {
	if os.Getenv(memoryChild) != "" {
		measureMemory(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryIsBoundedInAnOutage$", "-test.v")
	cmd.Env = append(os.Environ(), memoryChild+"=1", reliability.Env+"=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var f memoryFigures
	_, line, _ := strings.Cut(string(out), "figures: ")
	line, _, _ = strings.Cut(line, "\n")
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const (
		queue   = 4096 * 128 // entries of tap.h's QUEUE_MAX
		batches = 3 * (shipper.DefaultBatchBytes + shipper.DefaultBatchBytes/4)
		// What the encoder's windows, SQLite's caches of three connections and their like come to, measured without an
		// outage; and some for the allocators.
		slack = 12 << 20
	)
	bound := int64(vfs.DefaultRingBytes + batches + shipper.DefaultCacheBytes + queue + slack)
	bound += 8 * f.Pages
	const mb = 1 << 20
	t.Logf("%d MiB were committed in the outage; memory grew by %.1f MiB in it and by %.1f MiB when it was over; the bound is %.1f MiB; peak of the process: %d MiB",
		f.Written/mb, float64(f.Outage-f.Before)/mb, float64(f.CatchUp-f.Before)/mb, float64(bound)/mb, f.PeakRSS/mb)
	if f.Written < 200*mb {
		t.Errorf("only %d bytes were written", f.Written)
	}
	lost := 0
	for _, grown := range []int64{f.Outage - f.Before, f.CatchUp - f.Before} {
		if grown > bound {
			t.Errorf("memory grew by %d bytes, the bound is %d", grown, bound)
			lost++
		}
	}
	if f.Left != "" {
		t.Errorf("goroutines are left after Close: %s", f.Left)
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Store, Name: "an outage in which more is written than memory has room for",
		How: "over 200 MiB are committed while the store is down; memory is measured against the ring, three segments, cache and checksums",
	}, 1, lost)
}

func measureMemory(t *testing.T) {
	quiet := goleak.IgnoreCurrent()
	var f memoryFigures
	down := new(faultstore.Toggle)
	b := newBadPlace(t)
	var err error
	if b.behind, err = store.Open(t.Context(), "file://"+t.TempDir()); err != nil { // nothing of the store is in memory
		t.Fatal(err)
	}
	b.faults = faultstore.Wrap(b.behind, faultstore.Options{}, faultstore.When(down, faultstore.Fail(errReset)))
	b.driver = hasty // which has default sizes
	create(t, b.path, 4096)
	db := b.open("")
	db.SetMaxOpenConns(1)
	mustExec(t, db, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) SELECT randomblob(3500) FROM n")
	b.flush(db)
	mustExec(t, db, "UPDATE t SET b=randomblob(3500) WHERE a<100")
	b.flush(db)
	f.Before = heldMemory(t)
	down.On()
	st := b.status(db)
	for i := range 1400 {
		before := st.WALFrames
		mustExec(t, db, "UPDATE t SET b=randomblob(3500) WHERE a BETWEEN ?1 AND ?1+39", 1+i*37%1900)
		if st = b.status(db); st.WALFrames < before {
			before = 0 // the log was started again, as long as the ring had room
		}
		f.Written += int64(st.WALFrames-before) * int64(st.PageSize)
	}
	b.until(db, "standstill", still())
	f.Outage = heldMemory(t)
	down.Off()
	durable := st.Durable.Tx
	b.until(db, "segment", func(st vfs.Stat) bool { return st.Durable.Tx > durable+200 })
	f.CatchUp = heldMemory(t)
	if fi, err := os.Stat(b.path); err == nil {
		f.Pages = fi.Size() / int64(st.PageSize)
	}
	b.closeBadly(db)
	if err := goleak.Find(quiet); err != nil {
		f.Left = err.Error()
	}
	f.PeakRSS = procStatus(t, "VmHWM:")
	out, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("figures: %s\n", out)
}

// heldMemory is Go's heap after a collection, and the resident memory of anonymous mappings where C's allocator and mmap
// have theirs: not Go's arenas (0xc000000000 and on), nor the race detector's shadow of them.
func heldMemory(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip("no /proc to measure by: ", err)
	}
	defer f.Close()
	held, counts := int64(m.HeapAlloc), false
	for in := bufio.NewScanner(f); in.Scan(); {
		fields := strings.Fields(in.Text())
		if len(fields) >= 5 && strings.Contains(fields[0], "-") { // range, permissions, offset, device, inode, perhaps a name
			from, _, _ := strings.Cut(fields[0], "-")
			at, err := strconv.ParseUint(from, 16, 64)
			counts = err == nil && fields[4] == "0" && (at >= 0x7000_0000_0000 || len(fields) > 5 && fields[5] == "[heap]")
		}
		if counts && fields[0] == "Rss:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			held += kb << 10
		}
	}
	return held
}

// procStatus is a figure of /proc/self/status, in bytes.
func procStatus(t *testing.T, name string) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(string(readFile(t, "/proc/self/status")), name)
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
