// Package metrics tells Prometheus how the replication of the databases of this process is going.
//
//	import "seawal/vfs/metrics"
//
//	prometheus.MustRegister(metrics.NewCollector())
//
// It is a package of its own, so that an application which doesn't import it links no HTTP. The figures are those of
// vfs.Status, asked for when Prometheus asks; that waits for no store.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"seawal/store"
	"seawal/vfs"
)

// Labels: database is the full path of the file, replica the URL without credentials.
var (
	ofDatabase = []string{"database"}
	ofReplica  = []string{"database", "replica"}
	ofClass    = []string{"database", "replica", "class"}
	ofWord     = []string{"database", "replica", "word"}
)

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc("seawal_"+name, help, labels, nil)
}

// figure is a metric of a Stat or a ReplicaStat.
type figure[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*T) float64
}

var databaseFigures = []figure[vfs.Stat]{
	{desc("transactions_total", "Commits captured since the database was opened.", ofDatabase), prometheus.CounterValue,
		func(s *vfs.Stat) float64 { return float64(s.Transactions) }},
	{desc("ring_bytes", "Captured frames in memory.", ofDatabase), prometheus.GaugeValue,
		func(s *vfs.Stat) float64 { return float64(s.RingBytes) }},
	{desc("ring_size_bytes", "The most that the ring can hold.", ofDatabase), prometheus.GaugeValue,
		func(s *vfs.Stat) float64 { return float64(s.RingSize) }},
	{desc("wal_frames", "Frames in the log.", ofDatabase), prometheus.GaugeValue,
		func(s *vfs.Stat) float64 { return float64(s.WALFrames) }},
	{desc("left_in_wal_total", "Commits that were read back from the log: the ring was full, or the transaction too large.", ofDatabase), prometheus.CounterValue,
		func(s *vfs.Stat) float64 { return float64(s.LeftInWAL) }},
	{desc("wal_restarts_held_back_total", "Restarts of the log that had to wait for what was not read yet.", ofDatabase), prometheus.CounterValue,
		func(s *vfs.Stat) float64 { return float64(s.HeldBack) }},
	{desc("foreign_writes_total", "Times that commits of another process were found.", ofDatabase), prometheus.CounterValue,
		func(s *vfs.Stat) float64 { return float64(s.ForeignWrite) }},
	{desc("connections", "Open connections of this process, seawal's own included.", ofDatabase), prometheus.GaugeValue,
		func(s *vfs.Stat) float64 { return float64(s.Connections) }},
}

var replicaFigures = []figure[vfs.ReplicaStat]{
	{desc("up", "1 while nobody has to be called: health is ok, or behind for less than a minute and without an error.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return truth(s.Up()) }},
	{desc("fenced", "1 when another writer has the replica.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return truth(s.Fenced) }},
	{desc("timeline", "Timeline of the replica; 0 before it has answered.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Durable.Timeline) }},
	{desc("captured_transaction", "Number of the last commit of the database; 0 before the replica has answered.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Captured.Tx) }},
	{desc("durable_transaction", "Number of the last transaction that the replica has; 0 before it has answered.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Durable.Tx) }},
	{desc("lag_transactions", "Commits that the replica doesn't have.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.LagTransactions) }},
	{desc("lag_bytes", "Encoded bytes that the replica doesn't have.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.LagBytes) }},
	{desc("lag_seconds", "Age of the oldest commit that the replica is not known to have.", ofReplica), prometheus.GaugeValue,
		func(s *vfs.ReplicaStat) float64 { return s.Lag.Seconds() }},
	{desc("segments_total", "Log segments shipped.", ofReplica), prometheus.CounterValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Segments) }},
	{desc("segment_bytes_total", "Size of the log segments shipped.", ofReplica), prometheus.CounterValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.SegmentBytes) }},
	{desc("snapshots_total", "Snapshots shipped.", ofReplica), prometheus.CounterValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Snapshots) }},
	{desc("snapshot_bytes_total", "Size of the snapshots shipped.", ofReplica), prometheus.CounterValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.SnapshotBytes) }},
	{desc("resyncs_total", "Times that a difference was shipped in place of single transactions.", ofReplica), prometheus.CounterValue,
		func(s *vfs.ReplicaStat) float64 { return float64(s.Resyncs) }},
}

var (
	health        = desc("health", "1 for the word that says how the replica is, 0 for the others: ok, behind, blocked, damaged, gone, fenced, not replicated.", ofWord)
	requests      = desc("store_requests_total", "Requests to the store, by class: create, read, stat, list, delete.", ofClass)
	requestErrors = desc("store_request_errors_total", "Requests to the store that failed.", ofClass)
	requestBytes  = desc("store_bytes_total", "Bytes sent to the store (create) or received from it (read).", ofClass)
)

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collector is a prometheus.Collector of all databases that this process replicates. It is safe for concurrent use.
type Collector struct{}

var _ prometheus.Collector = Collector{}

// NewCollector returns a Collector. Register it once: two of them would report the same series.
func NewCollector() Collector { return Collector{} }

// Describe implements prometheus.Collector.
func (Collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range databaseFigures {
		out <- f.desc
	}
	for _, f := range replicaFigures {
		out <- f.desc
	}
	out <- health
	out <- requests
	out <- requestErrors
	out <- requestBytes
}

// Collect implements prometheus.Collector.
func (Collector) Collect(out chan<- prometheus.Metric) {
	for _, st := range vfs.Databases() {
		for _, f := range databaseFigures {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&st), st.Database)
		}
		replicas := st.Replicas
		if replicas == nil {
			replicas = []vfs.ReplicaStat{st.ReplicaStat}
		}
		for _, r := range replicas {
			collectReplica(out, st.Database, &r)
		}
	}
}

func collectReplica(out chan<- prometheus.Metric, database string, r *vfs.ReplicaStat) {
	for _, f := range replicaFigures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(r), database, r.Replica)
	}
	for _, word := range vfs.HealthWords {
		out <- prometheus.MustNewConstMetric(health, prometheus.GaugeValue, truth(r.Health.Word == word), database, r.Replica, string(word))
	}
	for _, c := range []struct {
		class string
		usage store.OpUsage
	}{
		{"create", r.Requests.Create}, {"read", r.Requests.Read}, {"stat", r.Requests.Stat},
		{"list", r.Requests.List}, {"delete", r.Requests.Delete},
	} {
		for _, m := range []struct {
			desc  *prometheus.Desc
			value int64
		}{{requests, c.usage.Requests}, {requestErrors, c.usage.Errors}, {requestBytes, c.usage.Bytes}} {
			out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value), database, r.Replica, c.class)
		}
	}
}
