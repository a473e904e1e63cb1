package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"seawal/store"
)

// Example opens a folder as a store, writes an object and reads a part of it.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "replica")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	plain, err := store.Open(ctx, "file://"+dir)
	if err != nil {
		log.Fatal(err)
	}
	var counts store.Counts
	s := store.Stack(plain, store.StackOptions{Counts: &counts})
	defer s.Close()

	if err := s.Create(ctx, "00000001/timeline.json", store.BytesBody([]byte(`{"timeline":1}`))); err != nil {
		log.Fatal(err)
	}
	err = s.Create(ctx, "00000001/timeline.json", store.BytesBody(nil))
	fmt.Println("taken:", errors.Is(err, store.ErrExist))

	r, err := s.Read(ctx, "00000001/timeline.json", 2, 8)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	fmt.Printf("%s %v\n", b, err)

	for o, err := range s.List(ctx, "00000001/", "") {
		fmt.Println(o.Name, o.Size, err)
	}
	fmt.Printf("%+v\n", counts.Usage().Create)
	// Output:
	// taken: true
	// timeline <nil>
	// 00000001/timeline.json 14 <nil>
	// {Requests:2 Errors:0 Bytes:14}
}

// ExampleNormalize tells whether two URLs name one replica.
func ExampleNormalize() {
	a, _ := store.Normalize("sftp://app:secret@Host:22/replicas/app/")
	b, _ := store.Normalize("sftp://app@host/replicas//app")
	fmt.Println(a, a == b)
	// Output: sftp://app@host/replicas/app true
}
