package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"seawal/internal/killpoint"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// # From the end back to the database
//
// Where a database is that a loss of power has robbed is found from the newest transaction backwards: the log segments name the pages
// that can differ, and only those are read and summed up here. For the rest the page checksums of the state folder stand, of which a
// sample is held against the file:
//
//	base (state folder) ......... point of the database ......... end
//	                              '---- pages of these segments ----'
//
// The checksum of the whole database, which is an XOR over its pages, follows from the base's by exchanging the sums of those pages. A
// transaction after which the replica recorded just this checksum is the point. As long as there is none, the next older
// segment is taken in, until everything before was synced to the disk, so that no loss of power can have taken it.

// lookback is what was read of the segments before a confirmed end.
type lookback struct {
	cfg  RollForwardConfig
	end  *confirmedEnd
	p    *pinned
	size int // of a page

	segments []store.Object         // newest first
	before   uint64                 // transaction before the oldest of them
	first    pagesum.Sum            // checksum of the database there
	leg      int                    // of the end, that they have reached
	left     int64                  // bytes of segments that may be read
	local    map[uint32]pagesum.Sum // of the pages that they touch, as the database has them
	final    map[uint32]pagesum.Sum // as they leave them
	points   map[pagesum.Sum]replica.Pos
	total    pagesum.Sum // of the database, if all other pages are the base's
	image    []byte
}

// errNoWayBack says that the segments don't lead from the end to where the database may be: the replica has a snapshot there, the page
// size changed, or the state folder has no page checksums.
var errNoWayBack = errors.New("only a restore leads there")

// sampleBytes is how much of the pages that no segment names is read: of a small database all.
const sampleBytes = 64 << 20

// lookBack finds the point of a database that is behind a confirmed end; zero when it is at the end, or at no point.
func lookBack(ctx context.Context, cfg RollForwardConfig, end *confirmedEnd, p *pinned) (at replica.Pos, l *lookback, err error) {
	if hasAll(end, p) {
		return at, nil, nil
	}
	baseAt, ok := end.pointOf(end.baseAt)
	if end.base == nil || !ok {
		return at, nil, errNoWayBack
	}
	l = &lookback{
		cfg: cfg, end: end, p: p, size: p.PageSize(), before: end.pos.Tx, first: end.after, leg: len(end.legs) - 1, left: searchBytes,
		local: map[uint32]pagesum.Sum{}, final: map[uint32]pagesum.Sum{}, points: map[pagesum.Sum]replica.Pos{end.after: end.pos},
		total: end.base.Total(), image: make([]byte, p.PageSize()),
	}
	for page := min(p.PageCount(), end.base.Len()) + 1; page <= max(p.PageCount(), end.base.Len()); page++ {
		if err := l.touch(page); err != nil {
			return at, nil, err
		}
	}
	at, err = l.find(ctx, baseAt)
	if err != nil || at == end.pos {
		return replica.Pos{}, nil, err
	}
	return at, l, nil
}

// find takes in segments, from the newest on, until it is certain at which point the database is; zero when it is at none, or has all in its log.
//
// The pages that no segment read so far names count as the base's. Where the base is newer than the database, that is wrong of those
// that were written in between, and the checksum of the whole can be that of a point all the same: of the base's own, when nothing was read yet.
// So a point counts once the segment that leads to it was read, whose pages an older database has otherwise, and once
// the sample finds no other page.
func (l *lookback) find(ctx context.Context, baseAt replica.Pos) (at replica.Pos, err error) {
	floor, _ := l.end.pointOf(l.end.synced)
	var wrong error // what the sample found at an earlier point than the end
	for {
		now := l.at()
		isPast := now.Compare(baseAt) <= 0
		isLast := isPast && (now.Compare(floor) <= 0 || now.Tx == 0 || l.left <= 0)
		at, ok := l.points[l.total]
		switch ok = ok && isPast; {
		case !ok && isLast:
			return replica.Pos{}, wrong // at no point that a loss of power could have left
		case !ok, at.Tx == now.Tx && !isLast:
			err := l.older(ctx)
			switch {
			case errors.Is(err, errNoWayBack) && ok: // the history begins there
			case errors.Is(err, errNoWayBack) && wrong != nil:
				return replica.Pos{}, wrong
			case err != nil:
				return replica.Pos{}, err
			case hasAll(l.end, l.p):
				return replica.Pos{}, nil
			default:
				continue
			}
		}
		other, err := l.sample(ctx)
		if other == nil || err != nil {
			return at, err
		}
		if at != l.end.pos {
			wrong = other
		}
	}
}

// hasAll says whether the log of the database still has the end, and so all before.
func hasAll(end *confirmedEnd, p *pinned) bool {
	place := end.place
	if here := p.Place(); p.log == nil || place.IsZero() || !here.SameGeneration(place) || place.Frame > here.Frame {
		return false
	}
	there, err := p.header.PlaceAt(p.log, place.Frame)
	return err == nil && there == place
}

// at is the point that the segments read so far lead from.
func (l *lookback) at() replica.Pos {
	pos, _ := l.end.pointOf(replica.Pos{Timeline: l.end.legs[l.leg].Timeline, Tx: l.before})
	return pos
}

// touch reads a page that may be another one than the base's.
func (l *lookback) touch(page uint32) error {
	if _, ok := l.local[page]; ok || page == pagesum.LockPage(l.size) {
		return nil
	}
	var sum pagesum.Sum
	if page <= l.p.PageCount() {
		if err := l.p.image(page, l.image); err != nil {
			return err
		}
		sum = l.end.hasher.Of(page, l.image)
		l.cfg.Progress()
	}
	l.local[page] = sum
	l.total ^= l.end.base.Get(page) ^ sum
	return nil
}

// older takes in the segment before those that were read.
func (l *lookback) older(ctx context.Context) error {
	for l.before <= l.end.legs[l.leg].After {
		if l.leg == 0 {
			return errNoWayBack
		}
		l.leg--
	}
	o, err := l.holder(ctx)
	if err != nil {
		return err
	}
	l.left -= o.Size
	return l.read(ctx, o)
}

// holder is the log segment with transaction before.
func (l *lookback) holder(ctx context.Context) (last store.Object, err error) {
	timeline := l.end.legs[l.leg].Timeline
	for _, window := range [...]uint64{256, 16384, math.MaxUint64} {
		after := ""
		if l.before > window {
			after = segment.LogName(timeline, l.before-window)
		}
		for o, err := range l.cfg.Store.List(ctx, segment.LogPrefix(timeline), after) {
			if err != nil {
				return last, fmt.Errorf("list log of timeline %d: %w", timeline, err)
			}
			n, err := segment.ParseName(o.Name)
			if err != nil {
				continue // none of ours
			}
			if n.First > l.before {
				break
			}
			last = o
		}
		if last.Name != "" || after == "" {
			break
		}
	}
	if last.Name == "" {
		return last, errNoWayBack
	}
	return last, nil
}

// past is a transaction of a segment.
type past struct {
	number uint64
	after  pagesum.Sum
	pages  map[uint32]pagesum.Sum
}

// read takes in a segment.
func (l *lookback) read(ctx context.Context, o store.Object) error {
	var txs []past
	h, place, err := l.decode(ctx, o, func(d *segment.Decoder, tx segment.Tx) error {
		t := past{number: tx.Number, pages: map[uint32]pagesum.Sum{}}
		err := eachPage(d, func(p *segment.Page) error { t.pages[p.Number] = p.Sum; return nil })
		t.after = d.TxEnd()
		txs = append(txs, t)
		return err
	})
	switch n := len(txs); {
	case err != nil:
		return err
	case n == 0 || txs[n-1].number != l.before || h.PageSize != l.size:
		return errNoWayBack
	case txs[n-1].after != l.first:
		return fmt.Errorf("%s ends with the checksum %v, and what follows begins with %v: it isn't what was confirmed here", o.Name, txs[n-1].after, l.first)
	}
	timeline := l.end.legs[l.leg].Timeline
	if len(l.segments) == 0 && l.end.place.IsZero() {
		l.end.place = place
	}
	for _, t := range slices.Backward(txs) {
		for page, sum := range t.pages {
			if _, ok := l.final[page]; !ok {
				l.final[page] = sum
			}
			if err := l.touch(page); err != nil {
				return err
			}
		}
		l.point(replica.Pos{Timeline: timeline, Tx: t.number}, t.after)
	}
	l.before, l.first = h.First-1, h.Before
	l.segments = append(l.segments, o)
	l.point(l.at(), h.Before)
	return nil
}

// point takes in a point that is older than all before: of two with equal pages the newer one counts.
func (l *lookback) point(pos replica.Pos, sum pagesum.Sum) {
	if _, ok := l.points[sum]; !ok {
		l.points[sum] = pos
	}
}

// decode calls each for the transactions of a segment that are in the history of the end. place is that of the last one in the log, if
// the segment ends with it.
func (l *lookback) decode(ctx context.Context, o store.Object, each func(*segment.Decoder, segment.Tx) error) (h segment.Header, place wal.Place, err error) {
	in, err := l.cfg.Store.Read(ctx, o.Name, 0, o.Size)
	if err != nil {
		return h, place, fmt.Errorf("read %s: %w", o.Name, err)
	}
	defer in.Close()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return h, place, fmt.Errorf("read %s: %w", o.Name, err)
	}
	last := l.end.legs[l.leg].Last
	for err == nil {
		var tx segment.Tx
		if tx, err = d.NextTx(); err != nil || tx.Number > last {
			break
		}
		err = each(d, tx)
	}
	switch {
	case err == io.EOF:
		place = d.Info().Place
	case err != nil:
		return h, place, fmt.Errorf("read %s: %w", o.Name, err)
	}
	return d.Header(), place, nil
}

// eachPage calls each for the pages of a transaction, which d is at the begin of.
func eachPage(d *segment.Decoder, each func(*segment.Page) error) error {
	var p segment.Page
	for {
		err := d.NextPage(&p)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = each(&p)
		}
		if err != nil {
			return err
		}
	}
}

// sample holds pages that no segment names against the base. From then on those that are other ones count as what they are: a transaction
// before the segments read so far may have written them. If none has, the file isn't what was left here, which other, of the first
// of them, says.
func (l *lookback) sample(ctx context.Context) (other, err error) {
	check := func(page uint32) error {
		if _, ok := l.local[page]; ok || page == pagesum.LockPage(l.size) {
			return nil
		}
		if err := l.p.image(page, l.image); err != nil {
			return err
		}
		l.cfg.Progress()
		if got, want := l.end.hasher.Of(page, l.image), l.end.base.Get(page); got != want {
			if other == nil {
				other = fmt.Errorf("page %d of %s has the checksum %v, no transaction since %v has written it, and it was %v then", page, l.cfg.DBPath, got, l.end.baseAt, want)
			}
			return l.touch(page)
		}
		return ctx.Err()
	}
	count, limit := l.p.PageCount(), uint32(sampleBytes/l.size)
	if count <= limit {
		for page := uint32(1); page <= count; page++ {
			if err := check(page); err != nil {
				return nil, err
			}
		}
		return other, nil
	}
	for range limit / 16 {
		if err := check(1 + rand.Uint32N(count)); err != nil {
			return nil, err
		}
	}
	return other, nil
}

// overlay holds images of pages in a file, in the order in which they came.
type overlay struct {
	file  *os.File
	size  int
	slots map[uint32]int64
	used  int64
}

func (v *overlay) get(page uint32, b []byte) (ok bool, err error) {
	slot, ok := v.slots[page]
	if !ok {
		return false, nil
	}
	_, err = v.file.ReadAt(b, slot*int64(v.size))
	return true, err
}

func (v *overlay) put(page uint32, b []byte) error {
	slot, ok := v.slots[page]
	if !ok {
		slot = v.used
		v.used++
		v.slots[page] = slot
	}
	_, err := v.file.WriteAt(b, slot*int64(v.size))
	return err
}

// journalOfPages applies the segments behind a point to the pages that they touch, and writes the journal of these.
func (cfg RollForwardConfig) journalOfPages(ctx context.Context, l *lookback, at replica.Pos, p *pinned) (w *written, err error) {
	f, err := os.OpenFile(filepath.Join(cfg.StateDir, "rollforward.pages"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) // and truncated by the next one
	defer f.Close()           // nobody reads it again
	v := &overlay{file: f, size: l.size, slots: map[uint32]int64{}}
	if w, err = l.apply(ctx, v, at); err != nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-applied")
	pages := make([]uint32, 0, len(w.pages))
	for page := range w.pages {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	return w, cfg.writeJournal(l.size, w, pages, func(page uint32, b []byte) error {
		if ok, err := v.get(page, b); ok || err != nil {
			return err
		}
		return fmt.Errorf("page %d was not written by any transaction behind %v", page, at)
	})
}

// apply brings the pages that were written behind a point into v. What it returns is proven: with these pages the database has the
// checksum that was confirmed.
func (l *lookback) apply(ctx context.Context, v *overlay, at replica.Pos) (*written, error) {
	count, whole := l.p.PageCount(), l.p.PageCount() // pages of the database now, and those of them that are still the file's
	base := make([]byte, l.size)
	for l.leg = 0; l.leg < len(l.end.legs)-1 && l.end.legs[l.leg].Timeline != at.Timeline; l.leg++ {
	}
	for i := len(l.segments) - 1; i >= 0; i-- {
		n, err := segment.ParseName(l.segments[i].Name)
		if err != nil {
			return nil, err
		}
		for l.leg < len(l.end.legs)-1 && l.end.legs[l.leg].Timeline != n.Timeline {
			l.leg++
		}
		_, _, err = l.decode(ctx, l.segments[i], func(d *segment.Decoder, tx segment.Tx) error {
			if pos := (replica.Pos{Timeline: n.Timeline, Tx: tx.Number}); pos.Compare(at) <= 0 {
				return eachPage(d, func(*segment.Page) error { return nil })
			}
			if tx.PageCount < count {
				whole = min(whole, tx.PageCount)
				for page := range v.slots {
					if page > tx.PageCount {
						delete(v.slots, page)
					}
				}
			}
			count = tx.PageCount
			return eachPage(d, func(p *segment.Page) error {
				l.cfg.Progress()
				if p.Kind == segment.Full {
					return v.put(p.Number, p.Data)
				}
				ok, err := v.get(p.Number, base)
				switch {
				case err != nil:
					return err
				case !ok && p.Number <= whole:
					err = l.p.image(p.Number, base)
				case !ok:
					clear(base)
				}
				if err == nil {
					err = segment.ApplyDelta(base, p.Data)
				}
				if err == nil {
					err = v.put(p.Number, base)
				}
				return err
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return l.proven(v, count)
}

// proven holds what apply has made against the checksum of the end.
func (l *lookback) proven(v *overlay, count uint32) (*written, error) {
	w := &written{hasher: l.end.hasher, pages: map[uint32]pagesum.Sum{}, count: count}
	total := l.total
	for page, sum := range l.local {
		if _, ok := v.slots[page]; !ok && page > count {
			total ^= sum // cut off
		}
	}
	for page := range v.slots {
		if _, err := v.get(page, l.image); err != nil {
			return nil, err
		}
		sum := l.end.hasher.Of(page, l.image)
		total ^= l.local[page] ^ sum
		if page > l.p.PageCount() || sum != l.local[page] {
			w.pages[page] = sum
		}
	}
	for page := count + 1; page <= l.p.PageCount(); page++ {
		if _, ok := l.local[page]; !ok {
			total ^= l.end.base.Get(page)
		}
	}
	if total != l.end.after {
		return nil, fmt.Errorf("the transactions up to %v lead to the checksum %v, and %v was confirmed here", l.end.pos, total, l.end.after)
	}
	return w, nil
}

// searchBack finds the point of a database by reading all of it, and the replica back from the end.
func searchBack(ctx context.Context, cfg RollForwardConfig, end *confirmedEnd, p *pinned) (at replica.Pos, err error) {
	local, err := p.sumsWith(ctx, end.hasher, cfg.Progress)
	if err != nil || local.Total() == end.after {
		return at, err
	}
	f := &search{states: map[pagesum.Sum]int{local.Total(): 0}, left: math.MaxInt64}
	m, err := f.find(ctx, cfg.Store, end.pos)
	return m.at, err
}
