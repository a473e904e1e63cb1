//go:build cgo

package vfs

import (
	"errors"

	"github.com/mattn/go-sqlite3"

	"seawal/shipper"
)

// CodeNotDurable is the extended result code of SQLite that ErrNotDurable has, for who looks at the ExtendedCode of a
// sqlite3.Error: an SQLITE_WARNING (28).
const CodeNotDurable = codeNotDurable

// ErrNotDurable: with durability=remote, the transaction is committed in the database file, and it isn't known whether the replica has it: the
// context or the limit of the wait was over, the statement was interrupted, the database was closed, or nothing is shipped any
// more. It isn't rolled back, and is shipped like every other one as soon as that is possible: to write it again would write it twice.
//
// A commit returns it as the sqlite3.Error that go-sqlite3 makes of CodeNotDurable, whose text is SQLite's "warning message": the log of the
// driver and Status have the reason. errors.Is finds it in both forms. An error of a query whose context has ended is that of
// the context, as go-sqlite3 has it.
var ErrNotDurable error = sqliteError(codeNotDurable)

// ErrUntold: a transaction with durability=remote was refused, and rolled back, because SQLite has no way to return ErrNotDurable for it: it
// changes several databases in a rollback journal mode, or ends with RELEASE there. In WAL mode it is possible; or use BEGIN and COMMIT.
var ErrUntold error = sqliteError(codeUntold)

// notDurable is an ErrNotDurable that says why.
type notDurable struct {
	reason error
	asked  bool // by Wait or Flush, whose errors say what they waited for
}

func (e *notDurable) Error() string {
	if e.asked {
		return e.reason.Error()
	}
	return notDurableText + ": " + e.reason.Error()
}

// Is says that it is an ErrNotDurable.
func (e *notDurable) Is(target error) bool { return target == ErrNotDurable }

// Unwrap returns the reason.
func (e *notDurable) Unwrap() error { return e.reason }

// IsNotDurable says whether err is, or wraps, an ErrNotDurable. It finds also what errors.Is doesn't: a RELEASE with a context, and a
// transaction over several databases, fail with an SQLITE_ERROR and ErrNotDurable's text.
func IsNotDurable(err error) bool {
	if errors.Is(err, ErrNotDurable) {
		return true
	}
	var e sqlite3.Error
	return errors.As(err, &e) && (e.ExtendedCode == CodeNotDurable || e.Code == sqlite3.ErrError && e.Error() == notDurableText)
}

// Errors to look for with errors.Is. The text that comes with them names the thing, the reason and the way out.
var (
	// ErrDSN: the data source name can't be understood.
	ErrDSN = errors.New("seawal: bad data source name")
	// ErrConfig: a Config field or DSN parameter has a value that is not allowed.
	ErrConfig = errors.New("seawal: bad configuration")
	// ErrCodec: the program is linked with a SQLite that encrypts, SQLCipher or SQLite3 Multiple Ciphers.
	ErrCodec = errors.New("seawal: databases of an encrypting SQLite are not replicated")
	// ErrSQLiteVersion: the SQLite in the program must not be trusted with a WAL database.
	ErrSQLiteVersion = errors.New("seawal: SQLite is too old")
	// ErrReplicaInUse: another database of this process has the replica URL, or this database has another.
	ErrReplicaInUse = errors.New("seawal: replica is in use")
	// ErrReplicaExists: the database does not exist and its replica does.
	ErrReplicaExists = shipper.ErrReplicaExists
	// ErrNotReplicated: the database has no replica to ask about.
	ErrNotReplicated = errors.New("seawal: database is not replicated")
	// ErrReplaced: the database file was deleted, replaced or emptied while it was open.
	ErrReplaced = shipper.ErrReplaced
	// ErrReplicaGone: the replica that the database was shipped to isn't in the store any more. Nothing is created or confirmed until it
	// is there again.
	ErrReplicaGone = shipper.ErrReplicaGone
	// ErrBehind: the database lacks transactions that its replica has, since a loss of power took them.
	ErrBehind = shipper.ErrBehind
	// ErrFenced: another writer has taken the replica over; nothing of it is overwritten.
	ErrFenced = shipper.ErrFenced
	// ErrOverwrites: the store creates a name that is taken, so that two writers would overwrite each other. Nothing is shipped to it.
	ErrOverwrites = shipper.ErrOverwrites
)
