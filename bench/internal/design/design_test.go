package design

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, name string) (Session, Database) {
	t.Helper()
	d, err := Lookup(name)
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	db := Database{Path: filepath.Join(dir, "a db.sqlite"), Replica: filepath.Join(dir, "replica"), Sync: "NORMAL", Busy: time.Second}
	s, err := d.Open(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

// Each design opens a WAL database with the settings that were asked for, commits,
// ships if it replicates, and leaves a database that is whole.
func TestDesigns(t *testing.T) {
	ctx := context.Background()
	for _, d := range designs {
		t.Run(d.Name, func(t *testing.T) {
			s, db := open(t, d.Name)
			var mode, sync string
			if err := s.DB().QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
				t.Errorf("journal mode %q, %v", mode, err)
			}
			if err := s.DB().QueryRow("PRAGMA synchronous").Scan(&sync); err != nil || sync != "1" {
				t.Errorf("synchronous %q, %v", sync, err)
			}
			if _, err := s.DB().Exec("CREATE TABLE t(x); INSERT INTO t VALUES(1)"); err != nil {
				t.Fatal(err)
			}
			r, ok := s.(Replicator)
			if ok != d.Replicates {
				t.Errorf("replicates: %v, says %v", ok, d.Replicates)
			}
			if ok {
				wait, err := r.Mark(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				// What was committed before the flush is durable now.
				soon, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				if err := wait(soon); err != nil {
					t.Errorf("waiting for the mark: %v", err)
				}
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
			stored, err := StoredIn(db.Replica)
			if err != nil {
				t.Fatal(err)
			}
			if d.Replicates != (stored.Objects > 0) {
				t.Errorf("stored: %+v", stored)
			}
		})
	}
}

func TestOutage(t *testing.T) {
	ctx := context.Background()
	s, _ := open(t, "seawal-outage")
	o := s.(Outage)
	if err := o.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	o.SetDown(true)
	if _, err := s.DB().Exec("CREATE TABLE t(x)"); err != nil {
		t.Errorf("the writer noticed: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := o.Flush(soon); err == nil {
		t.Error("shipped to a store that is away")
	}
	o.SetDown(false)
	if err := o.Flush(ctx); err != nil {
		t.Errorf("the store is back: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	if d, err := Lookup(Plain); err != nil || d.Name != Plain {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := Lookup("no such"); err == nil || !strings.Contains(err.Error(), "no such") {
		t.Errorf("error %v", err)
	}
	if Title("no such") != "no such" || Title(Plain) == Plain {
		t.Error("titles")
	}
}

func TestStoredIn(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a/b": "123", "c": "4567", "a/.upload": "hidden"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := StoredIn(dir); err != nil || s != (Stored{Bytes: 7, Objects: 2}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := StoredIn(filepath.Join(dir, "absent")); err != nil || s != (Stored{}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestLTXTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ltx")
	b := make([]byte, 100)
	copy(b, ltxMagic)
	binary.BigEndian.PutUint64(b[ltxTimeAt:], 1_700_000_000_123)
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(b)
	if at, err := ltxTime(path); err != nil || !at.Equal(time.UnixMilli(1_700_000_000_123)) {
		t.Errorf("%v, %v", at, err)
	}
	for _, bad := range [][]byte{nil, b[:39], make([]byte, 100)} {
		write(bad)
		if _, err := ltxTime(path); err == nil {
			t.Errorf("%d bytes were read as an LTX file", len(bad))
		}
	}
}

// A replica behind a network has a place of its own for each measurement, and parameters of the URL stay.
func TestBelow(t *testing.T) {
	for base, want := range map[string]string{
		"s3://bucket":                "s3://bucket/tmp/run-1/replica",
		"s3://bucket/bench?region=x": "s3://bucket/bench/tmp/run-1/replica?region=x",
		"sftp://me@host:22/~/bench":  "sftp://me@host:22/~/bench/tmp/run-1/replica",
	} {
		if got := below(base, "/tmp/run-1/replica"); got != want {
			t.Errorf("below %s: %s, want %s", base, got, want)
		}
	}
}

func TestCloudsWantAnAddress(t *testing.T) {
	for name, variable := range Clouds {
		t.Setenv(variable, "")
		if _, err := Lookup(name); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: %v; want what is to be set", name, err)
		}
	}
}
