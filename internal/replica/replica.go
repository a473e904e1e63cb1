package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// Replica says which database a replica is of. It is replica.json.
type Replica struct {
	Format   int        `json:"format"`    // of this document; CreateReplica sets it: FormatKeyed if there is a Key, else Format
	ID       segment.ID `json:"id"`        // random; every segment carries it
	PageSize int        `json:"page_size"` // of the first timeline, bytes; a later one may have another
	Created  time.Time  `json:"created"`
	Name     string     `json:"name"`           // base name of the database, for people
	Path     string     `json:"path,omitempty"` // of the database where it was when the replica was created; "": not known

	// Key is the secret of the page checksums in all of its segments; 0: they have none, as in replicas made by earlier versions.
	Key pagesum.Key `json:"page_key,omitempty"`

	// Overwrites says that the store doesn't refuse to create a name twice: see ProveCreate. Nothing is shipped there.
	Overwrites bool `json:"overwrites,omitempty"`

	// Damage is what is wrong with the document: it is corrupt, or gone (store.ErrNotExist). ID, PageSize and Key were found in the segments then.
	Damage error `json:"-"`
}

func (r Replica) validate() error {
	if r.ID.IsZero() {
		return errors.New("no id")
	}
	if r.Format != formatOf(r.Key) {
		return fmt.Errorf("format version is %d, with %v", r.Format, r.Key)
	}
	return validatePageSize(r.PageSize)
}

func formatOf(k pagesum.Key) int {
	if k == 0 {
		return Format
	}
	return FormatKeyed
}

func validatePageSize(n int) error {
	if n < segment.MinPageSize || n > segment.MaxPageSize || n&(n-1) != 0 {
		return fmt.Errorf("page size is %d", n)
	}
	return nil
}

// ReadReplica reads replica.json; where that is damaged or gone, and there are segments, see Replica.Damage. The error wraps
// store.ErrNotExist when there is no replica.
func ReadReplica(ctx context.Context, s store.Store) (Replica, error) {
	var r Replica
	err := readDocument(ctx, s, segment.ReplicaName, FormatKeyed, &r)
	if err == nil {
		if err = r.validate(); err == nil {
			r.Name = cutText(r.Name)
			return r, nil
		}
		err = &CorruptError{Object: segment.ReplicaName, Err: err}
	}
	if IsDamage(err) {
		return findReplica(ctx, s, err)
	}
	return Replica{}, err
}

// CreateReplica creates replica.json. The error wraps store.ErrExist when there is
// another replica. Calling it again with the same Replica succeeds, so that is what
// to do when the outcome is unknown.
func CreateReplica(ctx context.Context, s store.Store, r Replica) error {
	r.Format, r.Created = formatOf(r.Key), r.Created.UTC()
	if err := r.validate(); err != nil {
		return fmt.Errorf("create %s: %w", segment.ReplicaName, err)
	}
	return createDocument(ctx, s, segment.ReplicaName, r)
}
