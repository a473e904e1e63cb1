package pagesum

import "fmt"

// maxUnwritten is the most that a database may have in pages that nobody wrote, bytes.
//
// SQLite leaves such pages: a transaction in a rollback journal mode that adds pages and frees them again, before the page
// cache had to write them, grows the file over them. They are leaves of the list of free pages, and the trunks of that list are
// written, with up to a quarter of the page size of leaves in each. No transaction grows the file while pages are free, so
// all of them are of one transaction, and were in one page cache at a time. 64 GiB is more than page caches have.
const maxUnwritten = 64 << 30

// CheckSize says whether a database of n pages can have the sums in t: whether there are too many pages that nobody wrote.
// The number of pages comes from objects that others may have written, and the file is as large as it says.
// room is how many more pages may get a sum before t is that of the database.
func (t *Table) CheckSize(n uint32, pageSize int, room int64) error {
	written := int64(t.sums) + room
	if n >= LockPage(pageSize) {
		written++
	}
	unwritten := int64(n) - written
	if most := min(maxUnwritten/int64(pageSize), written*int64(pageSize/4)); unwritten > most {
		return fmt.Errorf("the database has %d pages, and %d or more of them were never written", n, unwritten)
	}
	return nil
}
