//go:build !unix

package main

import (
	"os/exec"
	"time"
)

// ownGroup has a command end when its time is over; its children may go on.
func ownGroup(cmd *exec.Cmd) { cmd.WaitDelay = 5 * time.Second }
