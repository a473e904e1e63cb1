package pagesum

import (
	"fmt"
	"strconv"
)

// Sum is the checksum of one page, or the XOR of the checksums of many. As the
// sum of a page, 0 means "no such page".
type Sum uint64

// String is the sum in 16 hex digits.
func (s Sum) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// ParseSum reads what String writes.
func ParseSum(text string) (Sum, error) {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil || Sum(n).String() != text {
		return 0, fmt.Errorf("%q is no checksum of 16 hex digits", text)
	}
	return Sum(n), nil
}

// LockPage returns the number of the page that holds the byte at 1 GiB. SQLite
// locks that byte and never stores the page, so it is no part of any database:
// its entry in a Table stays 0. pageSize is in bytes and not 0.
func LockPage(pageSize int) uint32 { return uint32(PendingByte/int64(pageSize)) + 1 }
