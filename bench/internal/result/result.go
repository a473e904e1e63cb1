// Package result is what the benchmark writes down: one Run for each
// measurement, and the File that holds all of them with the machine they were made on.
package result

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"seawal/bench/internal/machine"
)

// FormatVersion of File, raised when a field changes its meaning.
const FormatVersion = 1

// File is the JSON output: everything that the table and the report are made of.
type File struct {
	Format      int             `json:"format"`
	Started     time.Time       `json:"started"`
	Elapsed     float64         `json:"elapsed_s"`
	Flags       []string        `json:"flags"`
	Environment machine.Machine `json:"environment"`
	Workloads   []Workload      `json:"workloads"`
}

// Workload is one workload with its measurements, in the order in which they were made.
type Workload struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Why      string   `json:"why"`  // what it shows, one sentence
	Unit     string   `json:"unit"` // what an operation is, plural: "commits"
	Settings []string `json:"settings"`
	Designs  []string `json:"designs"`
	Ops      int64    `json:"ops"`   // operations of one measurement, the same for all designs; 0: no such number
	Pairs    int      `json:"pairs"` // wanted; fewer in Runs when time was up
	Runs     []Run    `json:"runs"`
	Skipped  []string `json:"skipped,omitempty"` // what was not measured, and why
}

// Run is one measurement of one design, made in a process of its own.
type Run struct {
	Design string `json:"design"`
	Pair   int    `json:"pair"`  // counted from 0; runs of one pair have the same seed
	Order  int    `json:"order"` // place in its pair

	Ops     int64   `json:"ops"`
	Seconds float64 `json:"seconds"` // of the operations alone
	// Drain is the time from the last operation to everything shipped and the database closed.
	Drain   float64  `json:"drain_s"`
	Latency *Latency `json:"latency,omitempty"`

	Reads       int64    `json:"reads,omitempty"` // by readers beside the writer, in the same time
	ReadLatency *Latency `json:"read_latency,omitempty"`

	// CPU seconds from the first operation until the database was closed, so that work that was put off counts.
	User    float64 `json:"user_s"`
	System  float64 `json:"system_s"`
	Sidecar Sidecar `json:"sidecar,omitzero"`

	PeakRSS  int64 `json:"peak_rss"`  // bytes, with mapped files, from the first operation on
	PeakAnon int64 `json:"peak_anon"` // bytes of memory that is the process's own (sampled)
	GCs      int64 `json:"gcs"`

	PeakWAL int64   `json:"peak_wal"` // bytes
	WAL     []Point `json:"wal,omitempty"`

	// What reached the replica from the first operation on.
	Shipped  int64    `json:"shipped,omitempty"` // bytes
	Objects  int64    `json:"objects,omitempty"`
	Requests int64    `json:"requests,omitempty"`
	Lag      *Latency `json:"lag,omitempty"` // commit to durable
	LagTime  []Point  `json:"lag_time,omitempty"`

	Figures map[string]float64 `json:"figures,omitempty"` // what only this workload has, by name

	Error string `json:"error,omitempty"` // why the rest is missing
}

// Sidecar is what a process beside the application used.
type Sidecar struct {
	User    float64 `json:"user_s"`
	System  float64 `json:"system_s"`
	PeakRSS int64   `json:"peak_rss"`
}

// Point is a value at a time, in seconds since the first operation.
type Point struct {
	At    float64 `json:"t"`
	Value float64 `json:"v"`
}

// Rate is operations a second.
func (r Run) Rate() float64 { return perSecond(r.Ops, r.Seconds) }

// ReadRate is reads a second beside the writer.
func (r Run) ReadRate() float64 { return perSecond(r.Reads, r.Seconds) }

func perSecond(n int64, s float64) float64 {
	if s <= 0 {
		return 0
	}
	return float64(n) / s
}

// CPU is the time that all processes used for one operation, in seconds.
func (r Run) CPU() float64 {
	if r.Ops == 0 {
		return 0
	}
	return (r.User + r.System + r.Sidecar.User + r.Sidecar.System) / float64(r.Ops)
}

// Of returns the runs of a design that succeeded, by pair.
func (w Workload) Of(design string) []Run {
	var out []Run
	for _, r := range w.Runs {
		if r.Design == design && r.Error == "" {
			out = append(out, r)
		}
	}
	return out
}

// Paired returns the runs of two designs of the pairs in which both succeeded.
func (w Workload) Paired(a, b string) (as, bs []Run) {
	byPair := map[int]Run{}
	for _, r := range w.Of(b) {
		byPair[r.Pair] = r
	}
	for _, r := range w.Of(a) {
		if o, ok := byPair[r.Pair]; ok {
			as, bs = append(as, r), append(bs, o)
		}
	}
	return as, bs
}

// Workload returns the workload of that name, nil when it was not run.
func (f *File) Workload(name string) *Workload {
	for i := range f.Workloads {
		if f.Workloads[i].Name == name {
			return &f.Workloads[i]
		}
	}
	return nil
}

// Write writes f as JSON.
func (f *File) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(f)
}

// Read reads what Write wrote.
func Read(r io.Reader) (*File, error) {
	f := new(File)
	if err := json.NewDecoder(r).Decode(f); err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	if f.Format != FormatVersion {
		return nil, fmt.Errorf("reading results: format %d, this program knows %d", f.Format, FormatVersion)
	}
	return f, nil
}
