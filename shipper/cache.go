package shipper

import (
	"errors"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

// slabBytes is how much the cache allocates at a time, so that a small or idle
// database doesn't hold the whole of it.
const slabBytes = 1 << 20

// imageCache holds images of pages as the last transaction encoded left them: the
// bases of deltas. It is bounded, allocates nothing per page, and evicts with the
// clock algorithm. An image is worth something only as long as its sum is the
// one in the table, which is for the caller to compare. Not safe for concurrent use.
type imageCache struct {
	pageSize int
	perSlab  int
	slabs    [][]byte
	mapped   [][]byte // those of slabs that release has to give back
	slots    []slot
	max      int // slots
	hand     int
	index    map[uint32]int32 // page -> slot
}

type slot struct {
	page uint32
	used bool // since the hand came by
	sum  pagesum.Sum
}

// newImageCache returns a cache of at most limit bytes of images.
func newImageCache(pageSize int, limit int64) *imageCache {
	c := &imageCache{pageSize: pageSize, perSlab: max(1, slabBytes/pageSize), index: make(map[uint32]int32)}
	c.max = max(0, int(limit/int64(pageSize)))
	return c
}

// release gives the memory back. The cache must not be used any more.
func (c *imageCache) release() error {
	var err error
	for _, b := range c.mapped {
		err = errors.Join(err, freeSlab(b))
	}
	*c = imageCache{}
	return err
}

func (c *imageCache) image(i int32) []byte {
	off := int(i) % c.perSlab * c.pageSize
	return c.slabs[int(i)/c.perSlab][off : off+c.pageSize : off+c.pageSize]
}

// get returns the image of a page that has this sum, or nil. It is valid until
// the next put.
func (c *imageCache) get(page uint32, sum pagesum.Sum) []byte {
	i, ok := c.index[page]
	if !ok || c.slots[i].sum != sum {
		return nil
	}
	c.slots[i].used = true
	return c.image(i)
}

// put keeps a copy of an image.
func (c *imageCache) put(page uint32, sum pagesum.Sum, image []byte) {
	i, ok := c.index[page]
	if !ok {
		if i = c.free(); i < 0 {
			return
		}
		c.index[page] = i
	}
	c.slots[i] = slot{page: page, sum: sum, used: ok}
	copy(c.image(i), image)
}

// patch turns the image that get returned for a page, in place, into the one that
// delta leads to: much less to write than a whole image.
func (c *imageCache) patch(page uint32, sum pagesum.Sum, delta []byte) error {
	i := c.index[page]
	c.slots[i].sum = sum
	return segment.ApplyDelta(c.image(i), delta)
}

// free returns a slot for a new image, evicting one if need be; -1 when the
// cache has no room at all.
func (c *imageCache) free() int32 {
	if c.max == 0 {
		return -1
	}
	if len(c.slots) < c.max {
		if len(c.slots) == len(c.slabs)*c.perSlab {
			b, mapped := allocSlab(min(c.perSlab, c.max-len(c.slots)) * c.pageSize)
			c.slabs = append(c.slabs, b)
			if mapped {
				c.mapped = append(c.mapped, b)
			}
		}
		c.slots = append(c.slots, slot{})
		return int32(len(c.slots) - 1)
	}
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.slots)
		if s := &c.slots[i]; s.used {
			s.used = false
			continue
		}
		delete(c.index, c.slots[i].page)
		return int32(i)
	}
}
