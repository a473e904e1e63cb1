// Command seawal looks after replicas.
//
//	seawal compact <replica-url>
//
// It is a command line around the packages, which do the work:
//
//	main.go     process: signals, exit code
//	command.go  what all verbs have in common
//	compact.go  seawal compact
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such replica.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"seawal/cmd/internal/cli"
	"seawal/store"
	_ "seawal/store/azure"
	_ "seawal/store/gcs"
	_ "seawal/store/s3"
	_ "seawal/store/sftp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{
		Printer: cli.Printer{Command: "seawal", Out: os.Stdout, Err: os.Stderr},
		stores:  cli.Stores{Open: store.Open},
	}
	code := a.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
