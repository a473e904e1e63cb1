//go:build !unix

package shipper

// hearing is nothing where there are no named pipes: stand-bys ride the cadence.
type hearing struct{}

func (s *Shipper) hearWakes()    {}
func (s *Shipper) stopHearing()  {}
func (s *Shipper) sendWake(byte) {}
