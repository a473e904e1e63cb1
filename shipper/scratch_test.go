package shipper

import "testing"

// TestScratchOfALargeTransaction: the memory that finds the last frames of a huge transaction isn't kept for the small ones behind it.
func TestScratchOfALargeTransaction(t *testing.T) {
	s := new(Shipper)
	page := func(i int) uint32 { return uint32(i/2) + 1 }
	s.lastFrames(20*keptFrames, page)
	if len(s.enc.keep) != 10*keptFrames || s.enc.seen != nil {
		t.Errorf("%d frames count, and the map of pages is kept: %v", len(s.enc.keep), s.enc.seen != nil)
	}
	s.lastFrames(100, page)
	if len(s.enc.keep) != 50 || cap(s.enc.keep) > 2*keptFrames {
		t.Errorf("%d frames count, in room for %d", len(s.enc.keep), cap(s.enc.keep))
	}
}
