package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// byVersions is the store on a service that has no If-None-Match, but keeps every version of a name: Backblaze B2. Nothing
// is ever overwritten there, so that who was first can be told afterwards.
//
// To create a name, an object is stored under it, and its versions are listed. Who finds its own version alone has
// created it. Who finds an older one takes its own away again, and the name is taken. Whose own is the oldest waits until
// the others are gone; when one stays, it has found itself alone before, and it is this one that goes. Two can't both
// succeed: each of them would have listed the versions before the other one's was there, and so each stored its version before
// the other one had.
//
//	A stores --- A lists: alone            B lists alone only if A's version isn't there yet, that is before
//	      B stores --------- B lists       "A stores"; but then A's listing, which comes later, shows B's
//
// A loser that dies before it has taken its version away leaves two. Readers go by the oldest one, which is the
// winner's as long as the service orders versions by when they were complete. It does so for objects that are stored with one
// request; one of more than 8 MiB that a process in another place stores at the same moment, and dies, could be taken for the
// older one. What it holds is checked against the rest of the replica then, as everything is.
type byVersions struct {
	*bucket

	mu    sync.Mutex
	known map[string]string // version of a name that was listed; under mu
}

var _ store.Store = (*byVersions)(nil)

// maxKnown bounds what is remembered of listings, in names; a read of any other one costs a request more.
const maxKnown = 1 << 14

// version is one of a name.
type version struct {
	id   string
	size int64
}

type versionKey struct{} // of a context: a *string that is to have the id of the version which is stored

// noteVersion tells whoever asked for it in ctx which version was stored.
func noteVersion(ctx context.Context, id *string) {
	if p, ok := ctx.Value(versionKey{}).(*string); ok {
		*p = aws.ToString(id)
	}
}

// How often, and with which pauses, the oldest of several versions looks whether the others are gone: longer than a writer
// that lives takes from its listing to its delete.
const (
	gapLooks = 20
	gapPause = 100 * time.Millisecond
)

// Create implements store.Store.
func (b *byVersions) Create(ctx context.Context, name string, body store.Body) error {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
		return b.wrap(ctx, store.OpCreate, name, err)
	}
	if err := b.claim(ctx, name, body); err != nil {
		return b.wrap(ctx, store.OpCreate, name, err)
	}
	return nil
}

func (b *byVersions) claim(ctx context.Context, name string, body store.Body) error {
	if before, err := b.versions(ctx, name); err != nil || len(before) > 0 {
		return errors.Join(err, taken(before))
	}
	var own string
	if err := b.create(context.WithValue(ctx, versionKey{}, &own), name, body); err != nil {
		return err
	}
	if own == "" || own == "null" {
		return store.Permanent(fmt.Errorf("bucket %s keeps no versions, and the service has no If-None-Match: two writers could not be told from each other; "+
			"switch versioning on for the bucket, and remove %s%s from it", b.name, b.root, name))
	}
	for looks := 0; ; looks++ {
		all, err := b.versions(ctx, name)
		i := slices.IndexFunc(all, func(v version) bool { return v.id == own })
		switch {
		case err != nil:
			return err
		case i < 0:
			return fmt.Errorf("the service does not list %s%s, which it has just stored", b.root, name)
		case len(all) == 1:
			return nil
		case i == len(all)-1 && looks < gapLooks:
			if err := pause(ctx, gapPause); err != nil {
				return err
			}
		default:
			// What can't be taken away is never read: it is not the oldest, or will be taken for damage.
			_ = b.remove(ctx, name, own)
			return store.ErrExist
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// taken is ErrExist when there are versions.
func taken(versions []version) error {
	if len(versions) == 0 {
		return nil
	}
	return store.ErrExist
}

// remove deletes a version for good.
func (b *byVersions) remove(ctx context.Context, name, id string) error {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), transfer.RequestTimeout)
	defer cancel()
	_, err := b.client.DeleteObject(short, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(name), VersionId: &id})
	return err
}

// versions lists those of a name, the newest first.
func (b *byVersions) versions(ctx context.Context, name string) (all []version, err error) {
	for v, err := range b.walk(ctx, name, "") {
		switch {
		case err != nil:
			return nil, err
		case v.name > name: // names are in order
			return all, nil
		case v.name == name:
			all = append(all, v.version)
		}
	}
	return all, nil
}

// oldest is the version that counts.
func (b *byVersions) oldest(ctx context.Context, name string) (version, error) {
	all, err := b.versions(ctx, name)
	switch {
	case err != nil:
		return version{}, err
	case len(all) == 0:
		return version{}, store.ErrNotExist
	}
	return all[len(all)-1], nil
}

type namedVersion struct {
	name string
	version
}

// walk lists the versions of all names with a prefix behind another name: names in order, of each the newest version first.
func (b *byVersions) walk(ctx context.Context, prefix, after string) iter.Seq2[namedVersion, error] {
	return func(yield func(namedVersion, error) bool) {
		in := &s3.ListObjectVersionsInput{Bucket: &b.name, Prefix: b.key(prefix)}
		if after != "" {
			in.KeyMarker = b.key(after)
		}
		for {
			out, err := b.versionPage(ctx, in)
			if err != nil {
				yield(namedVersion{}, err)
				return
			}
			for _, v := range out.Versions {
				name, ok := strings.CutPrefix(aws.ToString(v.Key), b.root)
				if !ok || name <= after || !strings.HasPrefix(name, prefix) || store.ValidateName(name) != nil {
					continue
				}
				if !yield(namedVersion{name, version{aws.ToString(v.VersionId), aws.ToInt64(v.Size)}}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if aws.ToString(out.NextKeyMarker) == "" {
				yield(namedVersion{}, errors.New("the service lists a part of the versions, and does not say where the next part begins"))
				return
			}
			in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
		}
	}
}

func (b *byVersions) versionPage(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	out, err := b.client.ListObjectVersions(short, in)
	if err == nil && aws.ToString(out.Name) == "" {
		err = errors.New("the answer is no listing of versions")
	}
	return out, err
}

// List implements store.Store.
func (b *byVersions) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := transfer.Begin(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after)); err != nil {
			yield(store.Object{}, b.wrap(ctx, store.OpList, prefix, err))
			return
		}
		var last namedVersion
		for v, err := range b.walk(ctx, prefix, after) {
			if err != nil {
				yield(store.Object{}, b.wrap(ctx, store.OpList, prefix, err))
				return
			}
			if last.name != "" && v.name != last.name && !b.found(last, yield) {
				return
			}
			last = v
		}
		if last.name != "" {
			b.found(last, yield)
		}
	}
}

// found yields the oldest version of a name, and remembers it.
func (b *byVersions) found(v namedVersion, yield func(store.Object, error) bool) bool {
	b.mu.Lock()
	if len(b.known) >= maxKnown {
		clear(b.known)
	}
	b.known[v.name] = v.id
	b.mu.Unlock()
	return yield(store.Object{Name: v.name, Size: v.size}, nil)
}

// Stat implements store.Store.
func (b *byVersions) Stat(ctx context.Context, name string) (store.Object, error) {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
		return store.Object{}, b.wrap(ctx, store.OpStat, name, err)
	}
	v, err := b.oldest(ctx, name)
	if err != nil {
		return store.Object{}, b.wrap(ctx, store.OpStat, name, err)
	}
	return store.Object{Name: name, Size: v.size}, nil
}

// Read implements store.Store.
func (b *byVersions) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := transfer.Begin(ctx, store.ValidateName(name), store.ValidateRange(off, n)); err != nil {
		return nil, b.wrap(ctx, store.OpRead, name, err)
	}
	b.mu.Lock()
	id, ok := b.known[name]
	b.mu.Unlock()
	if ok {
		r, err := b.readVersion(ctx, name, id, off, n)
		if err = b.wrapNil(ctx, name, err); !errors.Is(err, store.ErrNotExist) {
			return r, err
		}
		b.mu.Lock()
		delete(b.known, name) // deleted since, by whoever may
		b.mu.Unlock()
	}
	v, err := b.oldest(ctx, name)
	if err != nil {
		return nil, b.wrap(ctx, store.OpRead, name, err)
	}
	r, err := b.readVersion(ctx, name, v.id, off, n)
	return r, b.wrapNil(ctx, name, err)
}

func (b *byVersions) wrapNil(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	return b.wrap(ctx, store.OpRead, name, err)
}

// Delete implements store.Store. It deletes every version, so that the name is free.
func (b *byVersions) Delete(ctx context.Context, name string) error {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
		return b.wrap(ctx, store.OpDelete, name, err)
	}
	all, err := b.versions(ctx, name)
	for _, v := range all {
		if err == nil {
			err = b.remove(ctx, name, v.id) // the newest first: the one that counts goes last
		}
	}
	if err != nil {
		return b.wrap(ctx, store.OpDelete, name, err)
	}
	return nil
}
