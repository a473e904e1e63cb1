package shipper

import "os"

// isCovered says, of a database that nothing was committed to and whose replica never answered, that the replica is known to have all
// of it: it is empty, or as it was when it was closed with everything shipped.
func (s *Shipper) isCovered() bool {
	size := func(suffix string) int64 {
		fi, err := os.Stat(s.cfg.DBPath + suffix)
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	if size("-wal") > 0 {
		return false
	}
	if size("") == 0 {
		return true
	}
	st, err := readState(s.cfg.StateDir)
	if err != nil || st == nil || st.Clean == nil {
		return false
	}
	now := statFile(s.cfg.DBPath)
	return now != nil && *now == *st.Clean
}
