package vfs_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// What it costs to open a replicated database, do what is named, and close it: a process that is started for each job
// pays it every time.
func BenchmarkReopen(b *testing.B) {
	for _, tt := range []struct {
		name, statement string
	}{
		{"read", "SELECT count(*) FROM t"},
		{"write", "INSERT INTO t VALUES (1)"},
	} {
		for _, replica := range []string{"none", "file"} {
			b.Run(fmt.Sprintf("%s/replica=%s", tt.name, replica), func(b *testing.B) {
				dir := b.TempDir()
				dsn := "file:" + filepath.Join(dir, "app.db") + "?_journal_mode=WAL&_replica=none"
				if replica == "file" {
					dsn = "file:" + filepath.Join(dir, "app.db") + "?_journal_mode=WAL&_replica=file://" + filepath.Join(dir, "replica")
				}
				once := func(statement string) {
					db, err := sql.Open("seawal", dsn)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := db.Exec(statement); err != nil {
						b.Fatal(err)
					}
					if err := db.Close(); err != nil {
						b.Fatal(err)
					}
				}
				once("CREATE TABLE t (x)")
				once(tt.statement)
				for b.Loop() {
					once(tt.statement)
				}
			})
		}
	}
}
