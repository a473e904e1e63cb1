//go:build cgo

package vfs

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"seawal/store"
)

// EnvReplica names the environment variable with the base URL of all replicas, or [NoReplica].
const EnvReplica = "SEAWAL_REPLICA"

// EnvExclude names the environment variable with more patterns for Config.Exclude, separated by commas.
const EnvExclude = "SEAWAL_EXCLUDE"

// NoReplica, in place of the URL of a replica or of a base, says that nothing is to be replicated.
const NoReplica = "none"

// target is what a DSN asks for.
type target struct {
	cfg   Config // of the driver, with the DSN's own parameters
	dsn   string // for go-sqlite3, without our parameters
	path  string // the database file as the DSN names it; "" for none (in memory)
	query url.Values
	off   bool // the DSN or the environment says that nothing is to be replicated

	onError func(store.Failure) // hears what fails while the database is being opened; nil: nobody
}

// replicated says whether the target has a replica.
func (t target) replicated() bool { return t.cfg.Replica != "" || len(t.cfg.Replicas) > 0 }

// parseDSN splits a DSN into what is ours and what is go-sqlite3's.
func parseDSN(dsn string, cfg Config) (target, error) {
	t := target{cfg: cfg, dsn: dsn}
	base, rawQuery := splitDSN(dsn)
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return t, fmt.Errorf("%w: the parameters of %q can't be parsed (a bad escape, or a semicolon); percent-encode each value: "+
			"a replica URL with its own ?, &, ; or %% needs it", ErrDSN, redactDSN(dsn))
	}
	t.query = q
	asked, err := t.takeParams()
	if err != nil {
		return t, err
	}
	if err := checkNames(dsn, t.query); err != nil {
		return t, err
	}
	if t.path, err = filePath(base, t.query); err != nil {
		return t, err
	}
	if t.cfg.VFS == memoryVFS {
		t.path = ""
	}
	if err := t.findReplica(dsn, asked); err != nil {
		return t, err
	}
	t.cfg = t.cfg.withDefaults()
	if err := t.cfg.validate(); err != nil {
		return t, err
	}
	if t.replicated() {
		// Without the application's locks our own connections would take a transaction that is being written for one that
		// its process has left behind, and roll it back.
		delete(t.query, "nolock")
		if strings.HasPrefix(base, "?") {
			base = fileURI(base) // go-sqlite3 would not see the parameters that follow, our VFS among them
		}
	}
	t.dsn = joinDSN(base, keepParams(rawQuery, t.query))
	return t, nil
}

// findReplica settles whether the target has a replica: by the DSN or the Config, else by the base URL of the Config
// or the environment. asked are the names of our parameters in the DSN.
func (t *target) findReplica(dsn string, asked []string) error {
	explicit := t.replicated()
	if t.cfg.Replica == NoReplica {
		t.cfg.Replica, t.cfg.Base, t.off = "", "", true
		return nil
	}
	if !explicit && t.cfg.Base == "" {
		base, err := environmentBase()
		if err != nil {
			return err
		}
		t.cfg.Base = base
	}
	if t.cfg.Base == NoReplica && !explicit {
		t.cfg.Base, t.off = "", true
		return nil
	}
	switch {
	case t.path == "" && explicit:
		return fmt.Errorf("%w: %q is an in-memory or temporary database, which can't be replicated; name a file or leave _replica out",
			ErrDSN, redactDSN(dsn))
	case t.path == "":
		t.cfg.Base = ""
		return nil
	case explicit:
		return nil
	case t.cfg.Base != "":
		excluded, err := isExcluded(t.path, t.cfg.Exclude)
		if excluded || err != nil {
			t.cfg.Base, t.off = "", true
			return err
		}
		t.cfg.Replica, err = replicaUnder(t.cfg.Base, t.path)
		return err
	case len(asked) > 0:
		return fmt.Errorf("%w: %s in %q asks for replication, and no replica is named: add _replica=URL, set %s, or say _replica=none",
			ErrDSN, strings.Join(asked, ", "), redactDSN(dsn), EnvReplica)
	}
	return nil
}

// warnUnlessReplicated tells of a Config that asks for replication, and names no replica, where nobody else names one either. In a
// DSN that is an error; a Config may serve databases of both kinds.
func (t target) warnUnlessReplicated(cfg Config) {
	asked := cfg.Durability == Remote || cfg.Restore == RestoreIfMissing || cfg.WaitFor > 0
	if asked && !t.replicated() && !t.off && t.path != "" {
		cfg.logger().Warn("the database isn't replicated: the driver's Config asks for it, and neither that nor the DSN nor "+EnvReplica+" names a replica",
			"db", t.path)
	}
}

// takeParams moves our parameters out of the query into the Config. It returns the names of those that were there, _replica apart.
func (t *target) takeParams() (asked []string, err error) {
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
				return nil, fmt.Errorf("%w: one of %d times _replica is empty", ErrDSN, len(values))
			}
			if slices.Contains(values, NoReplica) {
				return nil, fmt.Errorf("%w: _replica=%s stands beside other replicas; leave one or the other out", ErrDSN, NoReplica)
			}
		} else if err := take("_replica", func(v string) error { t.cfg.Replica = v; return nil }); err != nil {
			return nil, err
		}
	}
	for _, p := range t.params() {
		if t.query.Has(p.name) {
			asked = append(asked, p.name)
		}
		if err := take(p.name, p.set); err != nil {
			return nil, err
		}
	}
	if v := t.query.Get("vfs"); v != "" {
		t.cfg.VFS = v
	}
	return asked, nil
}

// param is a parameter of ours with what it does to the Config.
type param struct {
	name string
	set  func(value string) error
}

// params are our parameters, _replica apart.
func (t *target) params() []param {
	text := func(p *string) func(string) error {
		return func(v string) error { *p = v; return nil }
	}
	return []param{
		{"_durability", text((*string)(&t.cfg.Durability))},
		{"_restore", text((*string)(&t.cfg.Restore))},
		{"_behind", text((*string)(&t.cfg.Behind))},
		{"_recreated", text((*string)(&t.cfg.Recreated))},
		{"_on_full", text((*string)(&t.cfg.OnFull))},
		{"_checkpoint", text((*string)(&t.cfg.Checkpoint))},
		{"_adopt", text(&t.cfg.Adopt)},
		{"_look", text((*string)(&t.cfg.Look))},
		{"_wait_for", func(v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return fmt.Errorf("%w: _wait_for is %q; use the number of replicas that have to have a commit, 1 or more", ErrDSN, v)
			}
			t.cfg.WaitFor = n
			return nil
		}},
		{"_durability_timeout", func(v string) error {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%w: _durability_timeout is %q; use a duration, as in 5s or 250ms, or 0s for no limit", ErrDSN, v)
			}
			t.cfg.DurabilityTimeout = d
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
	}
}
