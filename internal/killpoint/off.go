//go:build !seawal_killpoints

package killpoint

// Enabled says that points are compiled in.
const Enabled = false

// Hit is nothing.
func Hit(string) {}
