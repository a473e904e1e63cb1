//go:build cgo

package vfs

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"seawal/internal/replica"
)

// connDurability is the durability of a connection.
type connDurability struct {
	remote  bool
	timeout time.Duration // how long a commit waits with it; 0: no limit
}

// answer is what a PRAGMA returns: one row with one text, or an error.
type answer struct {
	text       string
	failed     bool
	durability *connDurability // what the connection has from now on; nil: what it had
}

// pragmaTimeout bounds a PRAGMA that waits and was given no time.
const pragmaTimeout = 30 * time.Second

// pragma answers the PRAGMAs of seawal; known is false for any other name.
//
//	PRAGMA seawal_status              the Stat as JSON
//	PRAGMA seawal_wait [= ms]         wait until what is committed is durable; returns its position
//	PRAGMA seawal_flush [= ms]        the same, shipping at once
//	PRAGMA seawal_durability [= remote|async]   of this connection
//	PRAGMA seawal_durability_timeout [= ms]     of this connection: how long a commit waits with remote; 0: no limit
//
// It runs on the thread of the connection, which may be inside a transaction.
func (d *database) pragma(name string, value *string, now connDurability) (a answer, known bool) {
	switch name {
	case "seawal_status":
		st, err := d.status()
		if err != nil {
			return failure(err), true
		}
		b, err := json.Marshal(st)
		if err != nil {
			return failure(err), true
		}
		return answer{text: string(b)}, true
	case "seawal_handle": // of this process: how Position and its kin find the database behind a wrapper
		return answer{text: strconv.FormatUint(d.handle, 10)}, true
	case "seawal_wait":
		return d.pragmaWait(name, value, false), true
	case "seawal_flush":
		return d.pragmaWait(name, value, true), true
	case "seawal_durability":
		return pragmaDurability(value, now), true
	case "seawal_durability_timeout":
		return pragmaDurabilityTimeout(value, now), true
	}
	return answer{}, false
}

func failure(err error) answer { return answer{text: err.Error(), failed: true} }

func (d *database) pragmaWait(name string, value *string, flush bool) answer {
	timeout := pragmaTimeout
	if value != nil {
		ms, err := strconv.ParseUint(*value, 10, 31)
		if err != nil {
			return failure(fmt.Errorf("seawal: PRAGMA %s=%s: use the longest wait in milliseconds", name, *value))
		}
		timeout = time.Duration(ms) * time.Millisecond
	}
	r, err := d.running()
	if err != nil {
		return failure(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	pos, err := waitForAll(ctx, r, flush)
	if err != nil {
		return failure(err)
	}
	return answer{text: pos.String()}
}

// waitForAll waits until what is committed now is durable.
func waitForAll(ctx context.Context, r *run, flush bool) (replica.Pos, error) {
	pos, err := r.position(ctx)
	if err != nil {
		return pos, err
	}
	if flush {
		return pos, r.flush(ctx)
	}
	return pos, r.wait(ctx, pos)
}

func pragmaDurability(value *string, now connDurability) answer {
	if value == nil {
		if now.remote {
			return answer{text: string(Remote)}
		}
		return answer{text: string(Async)}
	}
	switch Durability(*value) {
	case Remote, Async:
		now.remote = Durability(*value) == Remote
		return answer{text: *value, durability: &now}
	}
	return failure(fmt.Errorf("seawal: PRAGMA seawal_durability=%s: use remote or async", *value))
}

func pragmaDurabilityTimeout(value *string, now connDurability) answer {
	if value != nil {
		ms, err := strconv.ParseUint(*value, 10, 31)
		if err != nil {
			return failure(fmt.Errorf("seawal: PRAGMA seawal_durability_timeout=%s: use the longest wait in milliseconds, or 0 for no limit", *value))
		}
		now.timeout = time.Duration(ms) * time.Millisecond
	}
	return answer{text: strconv.FormatInt(now.timeout.Milliseconds(), 10), durability: &now}
}
