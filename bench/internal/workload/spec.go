// Package workload is what the benchmark does to a database: the workloads, the databases they
// begin with, and the measurement of one design under one workload.
package workload

import (
	"fmt"
	"time"

	"seawal/bench/internal/design"
)

// kind is what an operation does.
type kind uint8

const (
	insertRows   kind = iota + 1 // a transaction of Spec.rows inserts
	updateRandom                 // one random row, autocommit
	readPoint                    // one random row by primary key
	webMix                       // requests of a web application: mostly reads, some transactions
	bulkLoad                     // Spec.rows rows in one transaction; an operation is a row
	restoreFile                  // rebuild a database from its replica
	manyIdle                     // many databases in one process
	outage                       // the store is away for a while
)

// Spec is one workload. The zero values of sync, mmap and page size are
// replaced by the settings that the targets are about.
type Spec struct {
	Name  string
	Title string
	Why   string // what it shows
	Unit  string // what an operation is, plural

	Designs []string // measured in one interleaved group; the first is what the others are compared with

	Pairs      int     // in a full run
	QuickPairs int     // in a quick run; 0: not in it
	Weight     float64 // seconds of operations in a full run, in units of the base length
	extra      float64 // seconds that a measurement takes besides, more than others: for estimates
	prepare    float64 // likewise, before the first one

	kind     kind
	rows     int // a transaction; of bulkLoad and restoreFile: of the database
	quick    int // rows in a quick run, if not the same
	template Template
	clients  int // that do operations at the same time; 0: one
	readers  int // beside them, flat out
	rate     int // operations a second, 0: flat out

	sync     string        // PRAGMA synchronous; "": NORMAL
	mmap     int64         // PRAGMA mmap_size; 0: 1 GiB, noMmap: 0
	pageSize int           // 0: 4096
	slow     time.Duration // fsync of attached storage below everything; 0: the disk as it is
}

// ManyPairs is the number of pairs of the workloads with targets, which are measured whatever the time.
const ManyPairs = 9

const (
	defaultMmap = 1 << 30
	noMmap      = -1
	// maxMmap is what the go-sqlite3 build caps mmap_size at: 2 GiB less 64 KiB.
	maxMmap = 1<<31 - 1<<16
)

var (
	pair   = []string{design.Plain, "seawal-file"}
	peers  = []string{design.Plain, "seawal-file", design.Peer}
	stores = []string{design.Plain, "seawal-gcs", "seawal-azure", "seawal-s3", "seawal-sftp"}
)

// All lists the workloads in the order of the report: the ones with targets first.
func All() []Spec {
	specs := headline()
	specs = append(specs, variants()...)
	return append(specs, special()...)
}

// headline are the workloads that the targets are about.
func headline() []Spec {
	return []Spec{
		{Name: "single", Title: "Single-row commits", Unit: "commits", Why: "The most that replication can cost: every insert is a transaction of its own.",
			Designs: []string{design.Plain, "seawal", "seawal-file", design.Peer}, Pairs: ManyPairs, QuickPairs: 3, Weight: 1, kind: insertRows, rows: 1, template: small},
		{Name: "batch", Title: "100-row transactions", Unit: "commits", Why: "The usual way to write many rows: the log takes several pages a commit.",
			Designs: peers, Pairs: ManyPairs, QuickPairs: 3, Weight: 1, kind: insertRows, rows: 100, template: small},
		{Name: "random", Title: "Random updates in a large database", Unit: "commits", Why: "Each commit touches another page of a database that is larger than the ring: the worst case for page deltas and for caches.",
			Designs: peers, Pairs: ManyPairs, QuickPairs: 2, Weight: 1, extra: 1.5, prepare: 4, kind: updateRandom, template: large},
		{Name: "reads", Title: "Point reads", Unit: "reads", Why: "Reads go to the lower VFS and its memory map: replication must not be seen here.",
			Designs: []string{design.Plain, "seawal", "seawal-file"}, Pairs: ManyPairs, QuickPairs: 2, Weight: 0.6, kind: readPoint, template: medium},
		{Name: "mixed", Title: "Four readers beside a writer", Unit: "commits", Why: "The writer commits 2,000 times a second in both designs; what differs is what is left for reads.",
			Designs: peers, Pairs: ManyPairs, QuickPairs: 2, Weight: 1, kind: updateRandom, template: medium, readers: 4, rate: 2000},
		{Name: "web", Title: "Web application", Unit: "requests", Why: "Four clients; a fifth of the requests is a transaction on three tables, the others read.",
			Designs: peers, Pairs: ManyPairs, QuickPairs: 2, Weight: 1, kind: webMix, template: medium, clients: 4},
		{Name: "bulk", Title: "Bulk load in one transaction", Unit: "rows", Why: "A transaction many times larger than the ring, which is read back from the log.",
			Designs: pair, Pairs: 5, QuickPairs: 1, Weight: 2, kind: bulkLoad, rows: 1_000_000, quick: 100_000, template: small},
		{Name: "trickle", Title: "200 commits a second", Unit: "commits", Why: "A busy application, far below what the disk can do: how far is the replica behind, and what does the processor do meanwhile?",
			Designs: []string{design.Plain, "seawal-file", "seawal-10ms", design.Peer}, Pairs: 3, QuickPairs: 1, Weight: 3, kind: updateRandom, template: medium, rate: 200},
		{Name: "slow2", Title: "Single-row commits, attached storage (2 ms)", Unit: "commits", Why: "A disk behind a network: an fsync takes 2 ms, a read that is not cached 0.5 ms.",
			Designs: pair, Pairs: 5, QuickPairs: 1, Weight: 1, kind: insertRows, rows: 1, template: small, slow: 2 * time.Millisecond},
		{Name: "slow10", Title: "Single-row commits, attached storage (10 ms)", Unit: "commits", Why: "The same with an fsync of 10 ms.",
			Designs: pair, Pairs: 5, Weight: 1, kind: insertRows, rows: 1, template: small, slow: 10 * time.Millisecond},
	}
}

// variants change one thing at a time.
func variants() []Spec {
	v := []Spec{
		{Name: "stores", Title: "Single-row commits, by store", Unit: "commits", Why: "Where the replica is must not be seen by the writer; the lag is the store's. A server on this machine takes its processor time from the writer.",
			Designs: stores, Pairs: 3, QuickPairs: 1, Weight: 1, kind: insertRows, rows: 1, template: small},
		{Name: "random-mmap-64m", Title: "Random updates beyond the memory map", Unit: "commits", Why: "The database is larger than mmap_size: part of it is read by system calls.",
			Designs: pair, Pairs: 3, Weight: 0.8, extra: 1.5, kind: updateRandom, template: large, mmap: 64 << 20},
		{Name: "sync-full", Title: "Single-row commits, synchronous=FULL", Unit: "commits", Why: "Each commit waits for the disk.",
			Designs: peers, Pairs: 3, Weight: 0.8, kind: insertRows, rows: 1, template: small, sync: "FULL"},
		{Name: "sync-off", Title: "Single-row commits, synchronous=OFF", Unit: "commits", Why: "Nothing waits for the disk: what the processor alone takes.",
			Designs: pair, Pairs: 3, Weight: 0.8, kind: insertRows, rows: 1, template: small, sync: "OFF"},
	}
	for _, m := range []struct {
		name, title string
		bytes       int64
	}{{"0", "0", noMmap}, {"256m", "256 MiB", 256 << 20}, {"max", "2 GiB", maxMmap}} {
		v = append(v, Spec{Name: "mmap-" + m.name, Title: "Random updates, mmap_size=" + m.title, Unit: "commits", Why: "Memory mapping changes how checkpoints and reads reach the file.",
			Designs: pair, Pairs: 3, Weight: 0.4, kind: updateRandom, template: medium, mmap: m.bytes})
	}
	for _, size := range []int{1024, 16384, 65536} {
		v = append(v, Spec{Name: fmt.Sprintf("page-%d", size), Title: fmt.Sprintf("Single-row commits, page size %d", size), Unit: "commits", Why: "Every commit writes whole pages: the larger they are, the more is captured.",
			Designs: pair, Pairs: 3, Weight: 0.4, kind: insertRows, rows: 1, template: small, pageSize: size})
	}
	callback := []string{design.Exclusive, "go-vfs"}
	return append(v,
		Spec{Name: "go-vfs", Title: "Single-row commits through a VFS in Go", Unit: "commits", Why: "Why the write path is in C: the least that a VFS can do, in Go, beside plain SQLite under the same restrictions.",
			Designs: callback, Pairs: 3, QuickPairs: 1, Weight: 0.4, kind: insertRows, rows: 1, template: small, mmap: noMmap},
		Spec{Name: "go-vfs-reads", Title: "Point reads through a VFS in Go", Unit: "reads", Why: "The same for reads.",
			Designs: callback, Pairs: 3, Weight: 0.4, kind: readPoint, template: medium, mmap: noMmap},
	)
}

// special are measured in their own way; their figures have names.
func special() []Spec {
	specs := []Spec{
		{Name: "restore", Title: "Restore", Unit: "bytes", Why: "How long the way back takes, verified, from a folder on the same disk.",
			Designs: []string{"seawal-file"}, Pairs: 3, QuickPairs: 1, Weight: 4, extra: 2, prepare: 20, kind: restoreFile, rows: 5_200_000, quick: 280_000, template: empty},
		{Name: "outage", Title: "The store is away for 30 s", Unit: "commits", Why: "Writers must not notice; afterwards everything arrives.",
			Designs: []string{"seawal-outage"}, Pairs: 1, Weight: 32, kind: outage, template: medium, rate: 500},
	}
	for _, n := range []int{1, 10, 100, 1000} {
		specs = append(specs, Spec{Name: fmt.Sprintf("databases-%d", n), Title: fmt.Sprintf("Databases in one process: %d", n), Unit: "databases", Why: "What a database costs that does nothing, or a little.",
			Designs: pair, Pairs: 1, Weight: 1, extra: 3 + 0.015*float64(n), kind: manyIdle, rows: n, template: empty})
	}
	return specs
}

// Find returns the workload of that name.
func Find(name string) (Spec, error) {
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
	}
	return Spec{}, fmt.Errorf("no workload is called %q", name)
}

// ForQuick is the workload as a quick run does it.
func (s Spec) ForQuick() Spec {
	if s.quick != 0 {
		s.rows = s.quick
	}
	s.template.rows = min(s.template.rows, quickRows)
	s.Pairs = s.QuickPairs
	s.extra, s.prepare = 0, s.prepare/10
	return s
}

// WithRows replaces the size of the database of a restore or of a bulk load.
func (s Spec) WithRows(n int) Spec { s.rows = n; return s }

// Calibrated reports whether the number of operations is found by trying.
func (s Spec) Calibrated() bool {
	switch s.kind {
	case insertRows, updateRandom, readPoint, webMix:
		return s.rate == 0
	}
	return false
}

// OpsIn is the number of operations in so many seconds of a workload that is not calibrated; 0: the
// workload itself decides.
func (s Spec) OpsIn(seconds float64) int64 {
	if s.kind == outage {
		return 0
	}
	return int64(float64(s.rate) * seconds)
}

// Overhead is about what a measurement takes besides its operations, in seconds: copying,
// warming up, shipping the rest, closing.
func (s Spec) Overhead() float64 { return 0.9 + s.extra }

// Preparation is about what making the database takes, in seconds, before the first measurement.
func (s Spec) Preparation() float64 { return s.prepare }

// InPair reports whether a design is measured in that pair, counted from 0. Where there are many pairs a peer, for which we have to show
// less, is in about half of them: in one that goes from the first design to the last as often as in one that goes back.
func (s Spec) InPair(d string, pair int) bool {
	return d != design.Peer || s.Pairs < ManyPairs || pair%4 == 0 || pair%4 == 3
}

// Settings describes the database and how it is opened.
func (s Spec) Settings() []string {
	out := []string{"synchronous=" + s.syncMode(), fmt.Sprintf("mmap_size=%d", s.mmapSize()), fmt.Sprintf("page_size=%d", s.pageBytes())}
	if s.template.rows > 0 {
		out = append(out, fmt.Sprintf("%d rows before", s.template.rows))
	}
	if s.kind == bulkLoad || s.kind == restoreFile {
		out = append(out, fmt.Sprintf("%d rows", s.rows))
	}
	if s.slow > 0 {
		out = append(out, fmt.Sprintf("fsync %v", s.slow))
	}
	if s.rate > 0 {
		out = append(out, fmt.Sprintf("%d a second", s.rate))
	}
	if s.clients > 1 {
		out = append(out, fmt.Sprintf("%d clients", s.clients))
	}
	if s.readers > 0 {
		out = append(out, fmt.Sprintf("%d readers", s.readers))
	}
	return out
}

func (s Spec) syncMode() string {
	if s.sync == "" {
		return "NORMAL"
	}
	return s.sync
}

func (s Spec) mmapSize() int64 {
	switch s.mmap {
	case 0:
		return defaultMmap
	case noMmap:
		return 0
	}
	return s.mmap
}

func (s Spec) pageBytes() int {
	if s.pageSize == 0 {
		return 4096
	}
	return s.pageSize
}
