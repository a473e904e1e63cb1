//go:build seawal_killpoints

package vfs

// #cgo CFLAGS: -DSEAWAL_KILLPOINTS
import "C"
