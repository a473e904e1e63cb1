package shipper

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
)

// A rollback journal as SQLite writes it: a header that fills a sector, then a record for each page.
const (
	journalMagic  = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	journalSector = 512
	journalStride = 200 // every 200th byte of a page goes into its checksum
)

// writeJournal makes a hot rollback journal of images: whoever opens the database next has SQLite write them to the file and
// cut it to pageCount pages, all or nothing, through any number of crashes. The caller holds the database's EXCLUSIVE
// lock, and its log is empty. image fills p with a page.
//
// The header comes last: until it is there SQLite takes the journal for none, since its first byte is 0.
func writeJournal(path string, pageSize int, pageCount uint32, pages []uint32, image func(page uint32, p []byte) error) error {
	write := func(f *os.File) error {
		w := bufio.NewWriterSize(f, 1<<20)
		if _, err := w.Write(make([]byte, journalSector)); err != nil {
			return err
		}
		record := make([]byte, 4+pageSize+4)
		for _, page := range pages {
			data := record[4 : 4+pageSize]
			if err := image(page, data); err != nil {
				return err
			}
			var sum uint32 // the nonce, which is there to tell old records, is 0
			for i := pageSize - journalStride; i > 0; i -= journalStride {
				sum += uint32(data[i])
			}
			binary.BigEndian.PutUint32(record, page)
			binary.BigEndian.PutUint32(record[4+pageSize:], sum)
			if _, err := w.Write(record); err != nil {
				return err
			}
		}
		// SQLite looks at the last bytes for the name of a super-journal. A page could look like one.
		if _, err := w.Write(make([]byte, 16)); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if err := fsops.Sync(f); err != nil {
			return err
		}
		killpoint.Hit("shipper/rollforward-pages-synced")
		h := make([]byte, 28)
		copy(h, journalMagic)
		for i, v := range []uint32{uint32(len(pages)), 0, pageCount, journalSector, uint32(pageSize)} {
			binary.BigEndian.PutUint32(h[8+4*i:], v)
		}
		_, err := f.WriteAt(h, 0)
		killpoint.Hit("shipper/rollforward-header-written")
		return err
	}
	if err := writeFile(path, write); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// isHot says whether a journal is one that SQLite would play back.
func isHot(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == 1 && b[0] != 0
}
