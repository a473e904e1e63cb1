package design

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"seawal/store"
	"seawal/vfs"
)

func init() {
	Register(Design{
		Name:  "seawal",
		Title: "seawal, no replica",
		Open: func(ctx context.Context, d Database) (Session, error) {
			db, err := openPool(ctx, vfs.DriverName, d.dsn(nil))
			if err != nil {
				return nil, err
			}
			return pool{db}, nil
		},
	})
	Register(Replicated("seawal-file", "seawal, folder", 0, folderURL))
	Register(Replicated("seawal-10ms", "seawal, folder, every 10 ms", 10*time.Millisecond, folderURL))
	Register(outageDesign())
}

func folderURL(folder string) string { return "file://" + filepath.ToSlash(folder) }

// Replicated is seawal with a replica. The store's URL is made from the folder that the
// measurement has for its replica; interval 0 is the default. A store in a package of its own registers its
// designs with it, from a file here that imports the package and whose Check looks for the server.
func Replicated(name, title string, interval time.Duration, replica func(folder string) string) Design {
	return Design{
		Name: name, Title: title, Replicates: true,
		Open: func(ctx context.Context, d Database) (Session, error) {
			params := url.Values{"_replica": {replica(d.Replica)}}
			if interval > 0 {
				params.Set("_ship_interval", interval.String())
			}
			db, err := openPool(ctx, vfs.DriverName, d.dsn(params))
			if err != nil {
				return nil, err
			}
			return &seawal{db: db}, nil
		},
	}
}

// seawal is a database with a replica.
type seawal struct{ db *sql.DB }

var _ Replicator = (*seawal)(nil)

func (s *seawal) DB() *sql.DB                     { return s.db }
func (s *seawal) Close(context.Context) error     { return s.db.Close() }
func (s *seawal) Flush(ctx context.Context) error { return vfs.Flush(ctx, s.db) }

func (s *seawal) Mark(ctx context.Context) (func(context.Context) error, error) {
	pos, err := vfs.Position(ctx, s.db)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return vfs.Wait(ctx, s.db, pos) }, nil
}

func (s *seawal) Sent(ctx context.Context) (Sent, error) {
	st, err := vfs.Status(ctx, s.db)
	if err != nil {
		return Sent{}, fmt.Errorf("what the store was sent: %w", err)
	}
	u := st.Requests
	sent := Sent{Uploads: Stored{Bytes: u.Create.Bytes, Objects: u.Create.Requests - u.Create.Errors}}
	for _, op := range []store.OpUsage{u.Create, u.Read, u.Stat, u.List, u.Delete} {
		sent.Requests += op.Requests
	}
	return sent, nil
}
