//go:build cgo

package vfs

import (
	"cmp"
	"slices"
	"time"

	"seawal/shipper"
	"seawal/store"
)

// ReplicaStat is how the replication to one replica is going.
type ReplicaStat struct {
	Replica string `json:"replica"` // URL, without credentials
	Mode    string `json:"mode"`    // opening, attaching, standby, empty, snapshot, shipping, behind or stopped
	Fenced  bool   `json:"fenced"`  // stopped because another writer has the replica
	Health  Health `json:"health"`  // all that follows in a word (ok, behind, blocked, damaged, gone, fenced, not replicated) and a sentence

	Captured Pos `json:"captured"` // last commit of the database; zero until the replica has answered once
	Durable  Pos `json:"durable"`  // last transaction that the replica has; likewise

	LagTransactions uint64        `json:"lag_transactions"` // commits that are not durable
	LagBytes        int64         `json:"lag_bytes"`        // encoded, not durable
	Lag             time.Duration `json:"lag_ns"`           // age of the oldest commit known not to be durable

	LastError     string    `json:"last_error,omitempty"`     // what holds shipping up or has stopped it; "" when all is well
	LastErrorTime time.Time `json:"last_error_time,omitzero"` // of it, or of the last one that is over

	Segments      uint64 `json:"segments"`                // log segments shipped since the database was opened
	SegmentBytes  uint64 `json:"segment_bytes"`           // their size
	Snapshots     uint64 `json:"snapshots"`               // snapshots shipped since then
	SnapshotBytes uint64 `json:"snapshot_bytes"`          // their size
	Resyncs       uint64 `json:"resyncs"`                 // times that a difference was shipped in place of single transactions
	ResyncReason  string `json:"resync_reason,omitempty"` // of the last one
	ResyncPages   uint64 `json:"resync_pages"`            // pages read for them: those that may have been written since the replica's point

	Notice     string    `json:"notice,omitempty"`     // the last thing out of the ordinary that was found, and what was done about it
	NoticeTime time.Time `json:"notice_time,omitzero"` // when

	Requests store.Usage `json:"requests"` // to the store, by class, since the database was opened
}

// Health is a replica's state in one word and one sentence, for an operator.
type Health = shipper.Health

// HealthWords are all words that a Health may have, from the best to the worst.
var HealthWords = shipper.Words

// upWithin is how old the oldest commit that a replica lacks may be while it counts as up.
const upWithin = time.Minute

// Up says whether nobody has to be called for a replica: its Health is ok; or it is behind, nothing has failed, and what it lacks is less
// than a minute old. The metric seawal_up is 1 then.
func (r *ReplicaStat) Up() bool {
	return r.Health.Word == shipper.WordOK || r.Health.Word == shipper.WordBehind && r.LastError == "" && r.Lag < upWithin
}

// Stat is how the replication of a database is going. Its JSON is what PRAGMA seawal_status returns.
//
// With several replicas, Replicas has each of them. The ReplicaStat of the whole is then that of the
// one which decides when a waiter is told that a commit is durable: the slowest, or the WaitFor-th. Its positions are given
// in the numbers of the first replica, as those of Position are.
type Stat struct {
	Database string `json:"database"` // full path
	ReplicaStat
	Replicas []ReplicaStat `json:"replicas,omitempty"` // in the order of the configuration; nil when there is one

	Transactions uint64 `json:"transactions"`  // commits captured since the database was opened
	RingBytes    uint64 `json:"ring_bytes"`    // captured frames in memory now
	RingSize     int64  `json:"ring_size"`     // the most there can be
	WALFrames    uint32 `json:"wal_frames"`    // frames in the log now
	PageSize     int    `json:"page_size"`     // bytes
	LogFull      bool   `json:"log_full"`      // OnFull block: the log has grown past MaxWAL, and writers wait until it has been read
	LeftInWAL    uint64 `json:"left_in_wal"`   // commits that were read back from the log: ring full, or transaction too large
	HeldBack     uint64 `json:"held_back"`     // restarts of the log that had to wait for that
	ForeignWrite uint64 `json:"foreign_write"` // times that commits of another process were found
	Connections  int    `json:"connections"`   // of this process, seawal's own included
}

// status never waits for a store.
func (d *database) status() (Stat, error) {
	r, err := d.running()
	if err != nil {
		return Stat{}, err
	}
	return d.statusOf(r), nil
}

func (d *database) statusOf(r *run) Stat {
	t := d.tap.stats()
	st := Stat{
		Database: d.path, Transactions: t.commits,
		RingBytes: t.ringBytes, RingSize: d.cfg.RingBytes, WALFrames: t.walFrames, PageSize: t.pageSize,
		LogFull: t.logFull, LeftInWAL: t.ranges, HeldBack: t.heldBack, ForeignWrite: t.foreign, Connections: t.connections,
	}
	all := make([]ReplicaStat, len(r.replicas))
	for i, l := range r.replicas {
		all[i] = l.status()
	}
	st.ReplicaStat = all[0]
	if len(all) > 1 {
		st.ReplicaStat, st.Replicas = deciding(all, r.waitFor), all
	}
	if st.LogFull && (st.Health.Word == shipper.WordOK || st.Health.Word == shipper.WordBehind) {
		st.Health = Health{Word: shipper.WordBlocked, Sentence: "writers wait until the log, which has grown past MaxWAL, has been read: " + st.Health.Sentence}
	}
	return st
}

func (l *link) status() ReplicaStat {
	s := l.shipper.Status()
	st := ReplicaStat{
		Replica: store.Redact(l.url), Mode: string(s.Mode), Fenced: s.Fenced, Health: s.Health,
		Captured: s.Captured, Durable: s.Durable,
		LagTransactions: s.LagTx, LagBytes: s.LagBytes, Lag: s.Lag,
		LastErrorTime: s.ErrTime,
		Segments:      s.Segments, SegmentBytes: s.SegmentBytes,
		Snapshots: s.Snapshots, SnapshotBytes: s.SnapshotBytes, Resyncs: s.Resyncs, ResyncReason: s.ResyncReason, ResyncPages: s.ResyncPages,
		Requests: l.counts.Usage(), Notice: s.Notice, NoticeTime: s.NoticeTime,
	}
	if s.Err != nil {
		st.LastError = s.Err.Error()
	}
	return st
}

// deciding is the replica that the waitFor-th to have a commit is, with its positions in the numbers of the first.
func deciding(all []ReplicaStat, waitFor int) ReplicaStat {
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b ReplicaStat) int {
		if a.Captured.IsZero() != b.Captured.IsZero() {
			return cmp.Compare(b.Captured.Tx, a.Captured.Tx) // one that has never answered is behind all others
		}
		return cmp.Compare(a.LagTransactions, b.LagTransactions)
	})
	st, first := order[waitFor-1], all[0]
	st.Captured, st.Durable = first.Captured, Pos{}
	if !first.Captured.IsZero() && !order[waitFor-1].Captured.IsZero() {
		st.Durable = first.Captured
		st.Durable.Tx -= min(st.Durable.Tx, st.LagTransactions)
	}
	return st
}
