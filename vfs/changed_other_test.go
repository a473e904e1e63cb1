//go:build !linux

package vfs_test

import "os"

// changed is when a file was changed last, unix nanoseconds.
func changed(fi os.FileInfo) int64 { return fi.ModTime().UnixNano() }

// inode is nothing: the state knows no file there.
func inode(os.FileInfo) string { return `"dev": 0, "inode": 0` }
