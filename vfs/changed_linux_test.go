package vfs_test

import (
	"fmt"
	"os"
	"syscall"
)

// changed is when a file was changed last, unix nanoseconds.
func changed(fi os.FileInfo) int64 { return fi.Sys().(*syscall.Stat_t).Ctim.Nano() }

// inode names a file as state.json does.
func inode(fi os.FileInfo) string {
	st := fi.Sys().(*syscall.Stat_t)
	return fmt.Sprintf(`"dev": %d, "inode": %d`, st.Dev, st.Ino)
}
