package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"seawal/store"
)

// Format versions of documents. A replica.json with a key is of version 2, so that a program that knows of no key stops there; every
// other document is of version 1.
const (
	Format      = 1
	FormatKeyed = 2
)

// maxDocument is more than any document of ours needs, in bytes; it bounds what
// is read of an object that is something else.
const maxDocument = 64 << 10

// CorruptError says that a document is not what a writer wrote.
type CorruptError struct {
	Object string // name in the store
	Err    error  // what is wrong
}

func (e *CorruptError) Error() string { return fmt.Sprintf("%s is corrupt: %v", e.Object, e.Err) }
func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a document has a format that this program does not know.
type VersionError struct {
	Object string // name in the store
	Format int    // its format version
	Newest int    // the newest one that this program knows
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s was written by a newer seawal: it has format version %d, this one reads up to %d", e.Object, e.Format, e.Newest)
}

// readDocument reads the JSON object called name, of a format version up to newest, into v.
func readDocument(ctx context.Context, s store.Store, name string, newest int, v any) error {
	b, err := readAll(ctx, s, name)
	if err != nil {
		return err
	}
	if err := verify(b); err != nil {
		return &CorruptError{Object: name, Err: err}
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return &CorruptError{Object: name, Err: err}
	}
	if head.Format > newest {
		return &VersionError{Object: name, Format: head.Format, Newest: newest}
	}
	if head.Format < Format {
		return &CorruptError{Object: name, Err: fmt.Errorf("format version is %d", head.Format)}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &CorruptError{Object: name, Err: err}
	}
	return nil
}

func readAll(ctx context.Context, s store.Store, name string) ([]byte, error) {
	r, err := s.Read(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxDocument {
		return nil, &CorruptError{Object: name, Err: fmt.Errorf("more than %d bytes", maxDocument)}
	}
	return b, nil
}

// createDocument creates the JSON object called name from v. When the name is
// taken by these very bytes, an earlier attempt of ours got through.
func createDocument(ctx context.Context, s store.Store, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return create(ctx, s, name, seal(b))
}

// create creates the object called name. When the name is taken by these very bytes, an earlier attempt of ours got through.
func create(ctx context.Context, s store.Store, name string, b []byte) error {
	err := s.Create(ctx, name, store.BytesBody(b))
	if errors.Is(err, store.ErrExist) {
		there, readErr := readAll(ctx, s, name)
		if readErr != nil {
			return fmt.Errorf("create %s: it exists, but whose is it: %w", name, readErr)
		}
		if bytes.Equal(there, b) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// checksumField begins the last line of a document: XXH3-64 of the document without it. Those of earlier versions have none.
const checksumField = ",\n  \"checksum\": \""

// seal adds the checksum to a document.
func seal(b []byte) []byte {
	sum := xxh3.Hash(b)
	b = bytes.TrimSuffix(b, []byte("\n}"))
	return fmt.Appendf(b, "%s%016x\"\n}\n", checksumField, sum)
}

// verify holds a document against its checksum, if it has one. Digits that differ are JSON all the same.
func verify(b []byte) error {
	i := bytes.LastIndex(b, []byte(checksumField))
	if i < 0 {
		return nil
	}
	if whole := seal(append(bytes.Clone(b[:i]), "\n}"...)); !bytes.Equal(whole, b) {
		return errors.New("it is not what its checksum says")
	}
	return nil
}
