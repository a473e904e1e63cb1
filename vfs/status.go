package vfs

import (
	"time"

	"seawal/store"
)

// Stat is how the replication of a database is going. Its JSON is what PRAGMA seawal_status returns.
type Stat struct {
	Database string `json:"database"` // full path
	Replica  string `json:"replica"`  // URL, without credentials
	Mode     string `json:"mode"`     // attaching, empty, snapshot, shipping or stopped
	Fenced   bool   `json:"fenced"`   // stopped because another writer has the replica

	Captured Pos `json:"captured"` // last commit of the database; zero until the replica has answered once
	Durable  Pos `json:"durable"`  // last transaction that the replica has; likewise

	LagTransactions uint64        `json:"lag_transactions"` // commits that are not durable
	LagBytes        int64         `json:"lag_bytes"`        // encoded, not durable
	Lag             time.Duration `json:"lag_ns"`           // age of the oldest commit known not to be durable

	LastError     string    `json:"last_error,omitempty"`     // what holds shipping up or has stopped it; "" when all is well
	LastErrorTime time.Time `json:"last_error_time,omitzero"` // of it, or of the last one that is over

	Transactions  uint64 `json:"transactions"`            // commits captured since the database was opened
	Segments      uint64 `json:"segments"`                // log segments shipped since then
	SegmentBytes  uint64 `json:"segment_bytes"`           // their size
	Snapshots     uint64 `json:"snapshots"`               // snapshots shipped since then
	SnapshotBytes uint64 `json:"snapshot_bytes"`          // their size
	Resyncs       uint64 `json:"resyncs"`                 // times that a difference was shipped in place of single transactions
	ResyncReason  string `json:"resync_reason,omitempty"` // of the last one

	Notice     string    `json:"notice,omitempty"`     // the last thing out of the ordinary that was found, and what was done about it
	NoticeTime time.Time `json:"notice_time,omitzero"` // when

	RingBytes    uint64 `json:"ring_bytes"`    // captured frames in memory now
	RingSize     int64  `json:"ring_size"`     // the most there can be
	WALFrames    uint32 `json:"wal_frames"`    // frames in the log now
	PageSize     int    `json:"page_size"`     // bytes
	LeftInWAL    uint64 `json:"left_in_wal"`   // commits that were read back from the log: ring full, or transaction too large
	HeldBack     uint64 `json:"held_back"`     // restarts of the log that had to wait for that
	ForeignWrite uint64 `json:"foreign_write"` // times that commits of another process were found
	Connections  int    `json:"connections"`   // of this process, seawal's own included

	Requests store.Usage `json:"requests"` // to the store, by class, since the database was opened
}

// status never waits for the store.
func (d *database) status() (Stat, error) {
	r, err := d.running()
	if err != nil {
		return Stat{}, err
	}
	t, s := d.tap.stats(), r.shipper.Status()
	st := Stat{
		Database: d.path, Replica: store.Redact(d.replica), Mode: string(s.Mode), Fenced: s.Fenced,
		Captured: s.Captured, Durable: s.Durable,
		LagTransactions: s.LagTx, LagBytes: s.LagBytes, Lag: s.Lag,
		LastErrorTime: s.ErrTime,
		Transactions:  t.commits, Segments: s.Segments, SegmentBytes: s.SegmentBytes,
		Snapshots: s.Snapshots, SnapshotBytes: s.SnapshotBytes, Resyncs: s.Resyncs, ResyncReason: s.ResyncReason,
		RingBytes: t.ringBytes, RingSize: d.cfg.RingBytes, WALFrames: t.walFrames, PageSize: t.pageSize,
		LeftInWAL: t.ranges, HeldBack: t.heldBack, ForeignWrite: t.foreign, Connections: t.connections,
		Requests: r.counts.Usage(), Notice: s.Notice, NoticeTime: s.NoticeTime,
	}
	if s.Err != nil {
		st.LastError = s.Err.Error()
	}
	return st, nil
}
