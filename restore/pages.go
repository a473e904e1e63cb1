package restore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// cacheBytes is how much of page images is kept between decoder and file. The
// pages that a log touches again and again (the root pages, the end of a
// table) stay here and cost no system calls.
const cacheBytes = 8 << 20

// pageCache holds images of pages of the file being built, and writes them when it needs
// their room. Not safe for concurrent use.
type pageCache struct {
	file     *os.File
	pageSize int
	mem      []byte   // the slots' images
	page     []uint32 // the page in a slot; 0: free
	used     []bool   // touched since the hand passed
	slot     map[uint32]int
	hand     int // of the clock that finds the next victim
}

func newPageCache(file *os.File, pageSize int) *pageCache {
	n := cacheBytes / pageSize
	return &pageCache{
		file:     file,
		pageSize: pageSize,
		mem:      make([]byte, n*pageSize),
		page:     make([]uint32, n),
		used:     make([]bool, n),
		slot:     make(map[uint32]int, n),
	}
}

// image returns the current image of a page, to be changed in place until the
// next call. fresh says that it will be overwritten entirely, so that it need
// not be read; its content is undefined then. Behind the end of the file there are zeros.
func (c *pageCache) image(page uint32, fresh bool) ([]byte, error) {
	i, ok := c.slot[page]
	if !ok {
		var err error
		if i, err = c.free(); err != nil {
			return nil, err
		}
		if !fresh {
			if err := c.read(page, c.at(i)); err != nil {
				return nil, err
			}
		}
		c.page[i] = page
		c.slot[page] = i
	}
	c.used[i] = true
	return c.at(i), nil
}

func (c *pageCache) at(i int) []byte { return c.mem[i*c.pageSize : (i+1)*c.pageSize] }

func (c *pageCache) offset(page uint32) int64 { return int64(page-1) * int64(c.pageSize) }

func (c *pageCache) read(page uint32, p []byte) error {
	n, err := c.file.ReadAt(p, c.offset(page))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read back page %d: %w", page, err)
	}
	clear(p[n:])
	return nil
}

// free returns a slot without a page. Every page in the cache was asked for to
// be changed, so the one that has to go is written.
func (c *pageCache) free() (int, error) {
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.page)
		switch {
		case c.page[i] == 0:
			return i, nil
		case c.used[i]:
			c.used[i] = false
		default:
			if err := c.write(i); err != nil {
				return 0, err
			}
			delete(c.slot, c.page[i])
			c.page[i] = 0
			return i, nil
		}
	}
}

func (c *pageCache) write(i int) error {
	if _, err := c.file.WriteAt(c.at(i), c.offset(c.page[i])); err != nil {
		return fmt.Errorf("write page %d: %w", c.page[i], err)
	}
	return nil
}

// truncate drops all pages behind page n, from the cache and from the file.
func (c *pageCache) truncate(n uint32) error {
	for i, page := range c.page {
		if page > n {
			delete(c.slot, page)
			c.page[i], c.used[i] = 0, false
		}
	}
	if err := c.file.Truncate(int64(n) * int64(c.pageSize)); err != nil {
		return fmt.Errorf("cut file to %d pages: %w", n, err)
	}
	return nil
}

// flush writes everything, in page order, and empties the cache.
func (c *pageCache) flush() error {
	pages := make([]uint32, 0, len(c.slot))
	for page := range c.slot {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	for _, page := range pages {
		i := c.slot[page]
		if err := c.write(i); err != nil {
			return err
		}
		c.page[i], c.used[i] = 0, false
	}
	clear(c.slot)
	return nil
}
