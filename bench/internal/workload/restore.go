package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
	"seawal/restore"
	"seawal/store"
)

// updatesBeforeRestore leave a log behind the snapshot, so that a restore has some of each.
const updatesBeforeRestore = 20_000

// restorePlaces are the database of a restore and its replica, made once for all measurements.
func restorePlaces(j Job, s Spec) (source, replica string) {
	base := filepath.Join(j.Dir, fmt.Sprintf("restore-%d", s.rows))
	return base + ".db", base + ".replica"
}

// prepareReplica makes a database, replicates it, and goes on writing for a while.
func prepareReplica(ctx context.Context, j Job, s Spec) error {
	source, replica := restorePlaces(j, s)
	if _, err := os.Stat(replica); err == nil {
		return nil
	}
	s.template, s.kind = Template{s.rows}, updateRandom
	template, err := makeTemplate(ctx, j.Dir, s)
	if err != nil {
		return err
	}
	if err := os.Rename(template, source); err != nil {
		return err
	}
	d, err := design.Lookup(j.Design)
	if err != nil {
		return err
	}
	b := &bench{job: j, spec: s, design: d}
	db, err := b.database(source, replica)
	if err != nil {
		return err
	}
	if b.session, err = d.Open(ctx, db); err != nil {
		return err
	}
	defer b.abandon()
	c, err := newClient(ctx, b.session.DB(), s, j.Seed, newWriteLock())
	if err != nil {
		return err
	}
	b.clients = append(b.clients, c)
	if _, err := c.repeat(ctx, result.NewLatency(), min(updatesBeforeRestore, int64(s.rows)), time.Minute, 0); err != nil {
		return err
	}
	if r, ok := b.session.(design.Replicator); ok {
		if err := r.Flush(ctx); err != nil {
			return err
		}
	}
	return b.close(ctx)
}

// measureRestore rebuilds the database. An operation is a byte of it.
func measureRestore(ctx context.Context, j Job, s Spec, run *result.Run) error {
	source, replica := restorePlaces(j, s)
	st, err := store.Open(ctx, "file://"+filepath.ToSlash(replica))
	if err != nil {
		return err
	}
	defer st.Close()
	out := filepath.Join(j.Dir, "restored.db")
	defer os.Remove(out)
	runtime.GC()
	machine.ResetPeak()
	w := watch(ctx, nil, out, run)
	before := machine.Self()
	start := time.Now()
	res, err := restore.Run(ctx, st, restore.Options{Output: out, Force: true})
	run.Seconds = time.Since(start).Seconds()
	used := machine.Self().Sub(before)
	w.workDone()
	if err := errors.Join(err, w.stop()); err != nil {
		return err
	}
	run.Ops = res.Bytes
	run.User, run.System = used.User.Seconds(), used.System.Seconds()
	run.PeakRSS = machine.MemoryOf(0).PeakRSS
	run.Figures = map[string]float64{
		"database_bytes": float64(res.Bytes),
		"fetched_bytes":  float64(res.Fetched),
		"objects":        float64(res.Objects),
		"mb_per_s":       float64(res.Bytes) / 1e6 / run.Seconds,
	}
	if j.Pair == 0 {
		return sameContent(source, out)
	}
	return nil
}

// sameContent compares two files: a fast restore of something else is no restore.
func sameContent(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	ba, bb := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; {
		na, erra := io.ReadFull(fa, ba)
		nb, errb := io.ReadFull(fb, bb)
		if na != nb || !bytes.Equal(ba[:na], bb[:nb]) {
			return fmt.Errorf("%s differs from %s within the MiB at %d", b, a, off)
		}
		if ended(erra) && ended(errb) {
			return nil
		}
		if erra != nil || errb != nil {
			return errors.Join(erra, errb)
		}
		off += int64(na)
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
