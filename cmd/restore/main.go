// Command restore rebuilds a SQLite database from its seawal replica.
//
//	restore [flags] <replica-url> <output>
//	restore --list <replica-url>
//
// It is a command line around package restore, which does the work:
//
//	main.go     process: signals, exit code
//	command.go  flags and what they must not say together
//	at.go       moments as people write them
//	run.go      restore, plan or list
//	print.go    what came out, for people
//	failure.go  errors: exit code, JSON
//	bar.go      progress on a terminal
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such replica or point.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"

	"seawal/cmd/internal/cli"
	"seawal/store"
	_ "seawal/store/azure"
	_ "seawal/store/gcs"
	_ "seawal/store/s3"
	_ "seawal/store/sftp"
)

// gcPercent keeps the process near the memory that package restore promises:
// what it holds is mostly buffers that are used again, so collecting often costs little.
const gcPercent = 40

func main() {
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{
		Printer:  cli.Printer{Command: "restore", Out: os.Stdout, Err: os.Stderr},
		stores:   cli.Stores{Open: store.Open},
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
		now:      time.Now,
	}
	code := a.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
