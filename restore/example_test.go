package restore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"seawal/restore"
	"seawal/store"
)

// Bring the database back as it was a quarter of an hour ago, beside the one
// that is in use.
func ExampleRun() {
	ctx := context.Background()
	s, err := store.Open(ctx, "file:///backup/app")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	result, err := restore.Run(ctx, store.Retry(s, store.RetryPolicy{}), restore.Options{
		Output: "app-earlier.db",
		Target: restore.AtTime(time.Now().Add(-15 * time.Minute)),
	})
	var damaged *restore.ObjectError
	switch {
	case errors.Is(err, restore.ErrNoReplica):
		log.Fatal("nothing was ever replicated here")
	case errors.As(err, &damaged) && damaged.Newest != nil:
		log.Fatalf("%s is damaged; %v can be had", damaged.Object, damaged.Newest)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println("restored", result.Point)
}

// See which points there are.
func ExampleList() {
	ctx := context.Background()
	s, err := store.Open(ctx, "file:///backup/app")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	l, err := restore.List(ctx, s, 0)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range l.Ranges {
		fmt.Printf("%v to %v, %d points\n", r.First, r.Last, r.Points)
	}
}
