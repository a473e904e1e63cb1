package restore

import (
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE of sync_file_range(2).
const syncFileRangeWrite = 2

// startWriteback lets the disk begin to write what was just written, while the next blocks
// are fetched and decoded, so that the sync at the end has little left to do. A hint: whether
// it worked is of no interest, the sync reports every error.
func startWriteback(f *os.File, off, n int64) {
	_ = syscall.SyncFileRange(int(f.Fd()), off, n, syncFileRangeWrite)
}
