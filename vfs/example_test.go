package vfs_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// folder makes a folder for an example; a real application has one.
func folder() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "seawal-example-")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// An application changes the driver's name and says where the replica is.
func Example() {
	dir, remove := folder()
	defer remove()
	replica := "file://" + filepath.ToSlash(dir) + "/backup"

	db, err := sql.Open("seawal", "file:"+dir+"/app.db?_journal_mode=WAL&_replica="+replica)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE t(a); INSERT INTO t VALUES('kept')"); err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil { // ships the rest
		log.Fatal(err)
	}

	// What the restore command does.
	s, err := store.Open(context.Background(), replica)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if _, err := restore.Run(context.Background(), s, restore.Options{Output: dir + "/again.db"}); err != nil {
		log.Fatal(err)
	}
	again, err := sql.Open("sqlite3", dir+"/again.db")
	if err != nil {
		log.Fatal(err)
	}
	defer again.Close()
	var a string
	if err := again.QueryRow("SELECT a FROM t").Scan(&a); err != nil {
		log.Fatal(err)
	}
	fmt.Println(a)
	// Output: kept
}

// Some commits must not be lost with the machine: the application waits for those.
func ExampleWait() {
	dir, remove := folder()
	defer remove()
	db, err := sql.Open("seawal", dir+"/app.db?_journal_mode=WAL&_ship_interval=50ms&_replica=file://"+filepath.ToSlash(dir)+"/backup")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE orders(id)"); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pos, err := vfs.Position(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	if err := vfs.Wait(ctx, db, pos); err != nil {
		log.Fatal(err) // committed locally, replication unknown
	}
	st, err := vfs.Status(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Durable.Compare(pos) >= 0)
	// Output: true
}

// A driver of one's own has what a DSN can't say.
func ExampleRegister() {
	dir, remove := folder()
	defer remove()
	err := vfs.Register("app", vfs.Config{
		Base:       "file://" + filepath.ToSlash(dir) + "/backups", // each database under its file name
		Durability: vfs.Remote,
		RingBytes:  4 << 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open("app", dir+"/shop.db?_journal_mode=WAL")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t(a)"); err != nil { // returns when the replica has it
		log.Fatal(err)
	}
	_, err = os.Stat(dir + "/backups/shop.db/replica.json")
	fmt.Println(err)
	// Output: <nil>
}
