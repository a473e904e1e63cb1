//go:build !linux

package machine

import "os"

func DataSync(f *os.File) error { return f.Sync() }
