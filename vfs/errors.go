package vfs

import (
	"errors"

	"seawal/shipper"
)

// Errors to look for with errors.Is. The text that comes with them names the thing, the reason and the way out.
var (
	// ErrDSN: the data source name can't be understood.
	ErrDSN = errors.New("seawal: bad data source name")
	// ErrConfig: a Config field or DSN parameter has a value that is not allowed.
	ErrConfig = errors.New("seawal: bad configuration")
	// ErrSQLiteVersion: the SQLite in the program must not be trusted with a WAL database.
	ErrSQLiteVersion = errors.New("seawal: SQLite is too old")
	// ErrReplicaInUse: another database of this process has the replica URL, or this database has another.
	ErrReplicaInUse = errors.New("seawal: replica is in use")
	// ErrReplicaExists: the database does not exist and its replica does.
	ErrReplicaExists = errors.New("seawal: replica exists, database does not")
	// ErrNotReplicated: the database has no replica to ask about.
	ErrNotReplicated = errors.New("seawal: database is not replicated")
	// ErrReplaced: the database file was deleted, replaced or emptied while it was open.
	ErrReplaced = shipper.ErrReplaced
	// ErrReplicaGone: the replica that the database was shipped to isn't in the store any more. Nothing is created or confirmed until it
	// is there again.
	ErrReplicaGone = shipper.ErrReplicaGone
	// ErrFenced: another writer has taken the replica over; nothing of it is overwritten.
	ErrFenced = shipper.ErrFenced
)
