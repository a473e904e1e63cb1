//go:build unix

package shipper

import "syscall"

// allocSlab returns memory outside the garbage collector's heap, where it would make the
// collector keep as much again. Without it the heap has to do.
func allocSlab(n int) (slab []byte, mapped bool) {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n), false
	}
	return b, true
}

// freeSlab gives mapped memory back; nothing may point into it any more.
func freeSlab(b []byte) error { return syscall.Munmap(b) }
