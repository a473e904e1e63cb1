//go:build !unix

package shipper

// Flags of os.OpenFile that this platform doesn't have.
const (
	noFollow    = 0
	nonBlocking = 0
)
