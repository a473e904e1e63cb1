package vfs

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvReplica names the environment variable with the base URL of all replicas.
const EnvReplica = "SEAWAL_REPLICA"

// target is what a DSN asks for.
type target struct {
	cfg   Config // of the driver, with the DSN's own parameters
	dsn   string // for go-sqlite3, without our parameters
	path  string // the database file as the DSN names it; "" for none (in memory)
	query url.Values
}

// replicated says whether the target has a replica.
func (t target) replicated() bool { return t.cfg.Replica != "" || len(t.cfg.Replicas) > 0 }

// parseDSN splits a DSN into what is ours and what is go-sqlite3's.
func parseDSN(dsn string, cfg Config) (target, error) {
	t := target{cfg: cfg, dsn: dsn}
	base, rawQuery, hasQuery := strings.Cut(dsn, "?")
	if hasQuery && base != "" { // go-sqlite3 takes a leading "?" for a file name
		rawQuery, _, _ = strings.Cut(rawQuery, "#")
		q, err := url.ParseQuery(rawQuery)
		if err != nil {
			return t, fmt.Errorf("%w: parameters of %q: %w; percent-encode the value (a replica URL with its own ?, & or %% needs it)", ErrDSN, dsn, err)
		}
		t.query = q
	} else {
		base, t.query = dsn, url.Values{}
	}
	if err := t.takeParams(); err != nil {
		return t, err
	}
	var err error
	if t.path, err = filePath(base, t.query); err != nil {
		return t, err
	}
	explicit := t.replicated()
	if !explicit && t.cfg.Base == "" {
		t.cfg.Base = os.Getenv(EnvReplica)
	}
	if t.path == "" {
		if explicit {
			return t, fmt.Errorf("%w: %q is an in-memory or temporary database, which can't be replicated; name a file or leave _replica out", ErrDSN, dsn)
		}
		t.cfg.Base = ""
	} else if !explicit && t.cfg.Base != "" {
		t.cfg.Replica = strings.TrimRight(t.cfg.Base, "/") + "/" + url.PathEscape(filepath.Base(t.path))
	}
	t.cfg = t.cfg.withDefaults()
	if err := t.cfg.validate(); err != nil {
		return t, err
	}
	if t.replicated() {
		// Without the application's locks our own connections would take a transaction that is being written for one that
		// its process has left behind, and roll it back.
		delete(t.query, "nolock")
	}
	t.dsn = base
	if len(t.query) > 0 {
		t.dsn += "?" + t.query.Encode()
	}
	return t, nil
}

// takeParams moves our parameters out of the query into the Config.
func (t *target) takeParams() error {
	take := func(name string, set func(string) error) error {
		values, ok := t.query[name]
		if !ok {
			return nil
		}
		delete(t.query, name)
		if len(values) > 1 {
			return fmt.Errorf("%w: %s is given %d times", ErrDSN, name, len(values))
		}
		if values[0] == "" {
			return fmt.Errorf("%w: %s is empty", ErrDSN, name)
		}
		return set(values[0])
	}
	if values := t.query["_replica"]; len(values) > 0 {
		t.cfg.Replica, t.cfg.Replicas = "", nil // of the Config
		if len(values) > 1 {
			delete(t.query, "_replica")
			t.cfg.Replicas = values
			if slices.Contains(values, "") {
				return fmt.Errorf("%w: one of %d times _replica is empty", ErrDSN, len(values))
			}
		} else if err := take("_replica", func(v string) error { t.cfg.Replica = v; return nil }); err != nil {
			return err
		}
	}
	text := func(p *string) func(string) error {
		return func(v string) error { *p = v; return nil }
	}
	for _, p := range []struct {
		name string
		set  func(string) error
	}{
		{"_durability", text((*string)(&t.cfg.Durability))},
		{"_restore", text((*string)(&t.cfg.Restore))},
		{"_on_full", text((*string)(&t.cfg.OnFull))},
		{"_checkpoint", text((*string)(&t.cfg.Checkpoint))},
		{"_wait_for", func(v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return fmt.Errorf("%w: _wait_for is %q; use the number of replicas that have to have a commit, 1 or more", ErrDSN, v)
			}
			t.cfg.WaitFor = n
			return nil
		}},
		{"_ship_interval", func(v string) error {
			d, err := time.ParseDuration(v)
			if err != nil || d < time.Millisecond {
				return fmt.Errorf("%w: _ship_interval is %q; use a duration of 1ms or more, as in 1s or 250ms", ErrDSN, v)
			}
			t.cfg.Interval = d
			return nil
		}},
	} {
		if err := take(p.name, p.set); err != nil {
			return err
		}
	}
	if v := t.query.Get("vfs"); v != "" {
		t.cfg.VFS = v
	}
	return nil
}

// filePath is the file that SQLite opens for a DSN without its parameters; "" for none.
func filePath(base string, q url.Values) (string, error) {
	path := base
	if rest, isURI := strings.CutPrefix(base, "file:"); isURI {
		rest, _, _ = strings.Cut(rest, "#")
		if after, hasAuthority := strings.CutPrefix(rest, "//"); hasAuthority {
			i := strings.IndexByte(after, '/')
			if i < 0 {
				return "", fmt.Errorf("%w: %q has a host and no path; use file:///path", ErrDSN, base)
			}
			rest = after[i:]
		}
		p, err := url.PathUnescape(rest)
		if err != nil {
			return "", fmt.Errorf("%w: path of %q: %w", ErrDSN, base, err)
		}
		path = p
	}
	if path == ":memory:" || q.Get("mode") == "memory" {
		return "", nil
	}
	return path, nil
}

// withParams is the DSN for go-sqlite3 with more parameters.
func (t target) withParams(params map[string]string) string {
	q := url.Values{}
	for k, v := range t.query {
		q[k] = v
	}
	for k, v := range params {
		q.Set(k, v)
	}
	base, _, _ := strings.Cut(t.dsn, "?")
	return base + "?" + q.Encode()
}
