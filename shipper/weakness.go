package shipper

// weakness leaves one rule of this package out. The model of several hosts (TestHosts) is held
// against each of them: a model that doesn't find a rule missing says nothing about the rules
// that are there. No program can set it: the fields of that type aren't exported.
type weakness uint8

const (
	sound weakness = iota

	// rollsByWriter: what follows the confirmed point on its timeline is brought back after a loss
	// of power. It has our writer's id, since any other writer opens a timeline of its own; but a
	// clone has that id, too.
	rollsByWriter

	// leavesOpen: a takeover doesn't close the timeline that it leaves, so that its writer finds
	// out when it looks, at the latest after lookEvery segments.
	leavesOpen
)
