package vfs

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMisspelledParametersAreRefused(t *testing.T) {
	t.Setenv(EnvReplica, NoReplica)
	for _, tt := range []struct {
		name string
		dsn  string
		want []string // in the error
	}{
		{name: "letters swapped", dsn: "file:a.db?_replcia=file:///r", want: []string{"_replcia", "file:a.db?_replica=file"}},
		{name: "no underscore", dsn: "a.db?replica=file:///r&_fk=1", want: []string{"a.db?_replica=file%3A%2F%2F%2Fr&_fk=1"}},
		{name: "a hyphen", dsn: "a.db?_ship-interval=1s", want: []string{"_ship_interval=1s"}},
		{name: "capitals", dsn: "a.db?_Replica=file:///r", want: []string{"_replica"}},
		{name: "one letter more", dsn: "a.db?_durabillity=remote", want: []string{"_durability=remote"}},
		{name: "a parameter of a URL", dsn: "a.db?_replica=s3://b/app?endpoint=http://h&region=eu&_fk=1",
			want: []string{"region is a parameter of the replica's URL", "a.db?_replica=s3%3A%2F%2Fb%2Fapp%3Fendpoint%3Dhttp%253A%252F%252Fh%26region%3Deu&_fk=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseDSN(tt.dsn, Config{})
			if !errors.Is(err, ErrDSN) {
				t.Fatalf("error is %v, want ErrDSN", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestParametersOfOthersAreNotMisspelled(t *testing.T) {
	t.Setenv(EnvReplica, NoReplica)
	for _, name := range append([]string{"app", "_my_own", "x", "_restores_nothing_of_ours"}, theirParams...) {
		if _, err := parseDSN("file:a.db?"+name+"=1", Config{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a corrected DSN says has to work: it is what people paste.
func TestCorrectedDSNNamesTheReplica(t *testing.T) {
	got := encodeReplica("file:a.db?_fk=1&_replica=s3://b/app&region=eu&endpoint=http://h:9")
	tg, err := parseDSN(got, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "s3://b/app?region=eu&endpoint=http://h:9"; tg.cfg.Replica != want {
		t.Errorf("the replica is %q, want %q", tg.cfg.Replica, want)
	}
}

func TestOurParametersNeedAReplica(t *testing.T) {
	unset(t, EnvReplica)
	for _, p := range []string{"_durability=remote", "_restore=if-missing", "_ship_interval=1s"} {
		name, _, _ := strings.Cut(p, "=")
		if _, err := parseDSN("file:a.db?"+p, Config{}); !errors.Is(err, ErrDSN) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s without a replica: %v", p, err)
		}
		if _, err := parseDSN("file:a.db?_replica=none&"+p, Config{}); err != nil {
			t.Errorf("%s with _replica=none: %v", p, err)
		}
		if tg, err := parseDSN("file:a.db?"+p, Config{Base: "file:///r"}); err != nil || !tg.replicated() {
			t.Errorf("%s with a base: %v", p, err)
		}
	}
}

func TestNothingIsReplicatedWhereThatIsSaid(t *testing.T) {
	t.Setenv(EnvReplica, "file:///r")
	for _, tt := range []struct {
		name, dsn string
		cfg       Config
	}{
		{name: "the DSN says so, against the environment", dsn: "file:a.db?_replica=none"},
		{name: "the DSN says so, against the Config", dsn: "file:a.db?_replica=none", cfg: Config{Replicas: []string{"file:///x", "file:///y"}}},
		{name: "the Config's replica", dsn: "file:a.db", cfg: Config{Replica: NoReplica}},
		{name: "the Config's base", dsn: "file:a.db", cfg: Config{Base: NoReplica}},
	} {
		if tg, err := parseDSN(tt.dsn, tt.cfg); err != nil || tg.replicated() {
			t.Errorf("%s: replicated %v, error %v", tt.name, tg.replicated(), err)
		}
	}
	t.Setenv(EnvReplica, NoReplica)
	if tg, err := parseDSN("file:a.db", Config{}); err != nil || tg.replicated() {
		t.Errorf("the environment: replicated %v, error %v", tg.replicated(), err)
	}
	if tg, err := parseDSN("file:a.db?_replica=file:///r", Config{}); err != nil || !tg.replicated() {
		t.Errorf("a DSN against the environment: replicated %v, error %v", tg.replicated(), err)
	}
}

func TestEnvironmentThatReplicatesNothingIsRefused(t *testing.T) {
	unset(t, EnvReplica)
	for name, value := range map[string]string{EnvReplica: "", "SEAWAL_REPLCIA": "file:///r", "SEAWAL_REPLICAS": "file:///r"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := parseDSN("file:a.db", Config{}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
				t.Errorf("error is %v", err)
			}
			if _, err := parseDSN("file:a.db?_replica=file:///r", Config{}); err != nil {
				t.Errorf("where the DSN names the replica: %v", err)
			}
		})
	}
}

func TestBaseWithPlaceholders(t *testing.T) {
	for _, tt := range []struct{ name, base, path, want, err string }{
		{name: "none", base: "file:///r/", path: "/srv/a b.db", want: "file:///r/a%20b.db"},
		{name: "folder and name", base: "s3://b/{dir}/{name}?region=x", path: "/srv/tenants/7/app.db", want: "s3://b/7/app.db?region=x"},
		{name: "path", base: "s3://b/{path}", path: "/srv/t?1/app.db", want: "s3://b/srv/t%3F1/app.db"},
		{name: "at the root", base: "s3://b/x{dir}/{name}", path: "/app.db", want: "s3://b/x/app.db"},
		{name: "unknown", base: "s3://b/{host}/{name}", path: "/a.db", err: "{name}, the file's name"},
		{name: "one for all", base: "s3://b/{dir}", path: "/a/b.db", err: "put {name} or {path} into it"},
	} {
		got, err := replicaUnder(tt.base, tt.path)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v; want %q, an error with %q", tt.name, got, err, tt.want, tt.err)
		}
	}
	tg, err := parseDSN("file:rel.db", Config{Base: "file:///r/{path}"})
	wd, _ := os.Getwd()
	if want := "file:///r" + filepath.Join(wd, "rel.db"); err != nil || tg.cfg.Replica != want {
		t.Errorf("a relative path: %q, %v; want %q", tg.cfg.Replica, err, want)
	}
}

func TestErrorsShowNoSecrets(t *testing.T) {
	for _, dsn := range []string{
		"a.db?_auth_pass=hunter2&_replica=sftp://u:p%zz@h/x",
		"a.db?_auth_pass=hunter2&_replica=sftp://u:hunter2@h/x&_durability=never",
		"a.db?_auth_user=hunter2&_replcia=sftp://u:hunter2@h/x",
		":memory:?_replica=azblob://c/p?sig%3Dhunter2",
		"a.db?_replica=s3://b/p?endpoint%3Dhttps://k:hunter2@h&region=x",
		"a.db?key=hunter2&_ship_interval=hunter",
	} {
		_, err := parseDSN(dsn, Config{})
		if err == nil {
			t.Errorf("%s: no error", dsn)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "p%zz") {
			t.Errorf("the error has a secret: %v", err)
		}
	}
}

func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "") // puts it back at the end
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

func TestExcludedFilesHaveNoReplicaUnderABase(t *testing.T) {
	t.Setenv(EnvReplica, "file:///r")
	t.Setenv(EnvExclude, "*.bak, /srv/*/cache.db")
	for path, want := range map[string]bool{"app.db": true, "app.bak": false, "/srv/a/cache.db": false, "/srv/a/b/cache.db": true, "tmp-1.db": false} {
		if tg, err := parseDSN(path, Config{Exclude: []string{"tmp-*"}}); err != nil || tg.replicated() != want {
			t.Errorf("%s: replicated %v, error %v", path, tg.replicated(), err)
		}
	}
	if tg, err := parseDSN("app.bak?_replica=file:///x", Config{}); err != nil || !tg.replicated() {
		t.Errorf("with a replica of its own: replicated %v, error %v", tg.replicated(), err)
	}
	if _, err := parseDSN("app.db", Config{Exclude: []string{"[a"}}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "[a") {
		t.Errorf("a bad pattern: %v", err)
	}
}

func TestOneLineSaysWhatIsReplicated(t *testing.T) {
	unset(t, EnvReplica)
	var log bytes.Buffer
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	dir := t.TempDir()
	open := func(dsn string, cfg Config) {
		t.Helper()
		log.Reset()
		c, err := (&Driver{cfg: cfg}).OpenConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := errors.Join(db.Ping(), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	open("file:"+dir+"/a.db?_replica=file://"+dir+"/r", cfg)
	if want := "level=INFO msg=replicating db=" + dir + "/a.db replica=file://" + dir + "/r"; strings.Count(log.String(), want) != 1 {
		t.Errorf("the log has no line %q:\n%s", want, &log)
	}
	cfg.Durability = Remote
	open("file:"+dir+"/b.db", cfg)
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "isn't replicated") {
		t.Errorf("a Config with remote durability and no replica, and the log says:\n%s", &log)
	}
	open("file:"+dir+"/b.db?_replica=none", cfg)
	if log.Len() > 0 {
		t.Errorf("a warning of what was asked for:\n%s", &log)
	}
}
