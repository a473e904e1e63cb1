package design

import (
	"context"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

func init() {
	Register(Design{
		Name:  Plain,
		Title: "plain go-sqlite3",
		Open: func(ctx context.Context, d Database) (Session, error) {
			db, err := openPool(ctx, "sqlite3", d.dsn(nil))
			if err != nil {
				return nil, err
			}
			return pool{db}, nil
		},
	})
}
