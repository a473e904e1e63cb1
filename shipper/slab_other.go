//go:build !unix

package shipper

func allocSlab(n int) (slab []byte, mapped bool) { return make([]byte, n), false }

func freeSlab([]byte) error { return nil }
