package transfer

import (
	"crypto/fips140"
	"crypto/md5"
)

// MD5 is what a service compares a body with, to notice that it was damaged on its way. Nobody relies on it against an
// attacker, so that it is computed where GODEBUG=fips140=only forbids MD5, too: the program would end with a panic there.
func MD5(p []byte) (sum [md5.Size]byte) {
	fips140.WithoutEnforcement(func() { sum = md5.Sum(p) })
	return sum
}
