package s3_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/internal/testserver"
	"seawal/store"
)

const (
	snapshotSize = 1 << 30 // bytes of a first snapshot
	partSize     = 8 << 20 // as package transfer has it
)

var uploads atomic.Int64 // so that each has a name of its own

// noise is a body that is not kept in memory and can't be compressed.
type noise struct {
	left int64
	x    uint64
}

func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), n.left)]
	for i := 0; i+8 <= len(p); i += 8 {
		n.x ^= n.x << 13
		n.x ^= n.x >> 7
		n.x ^= n.x << 17
		p[i], p[i+3], p[i+5] = byte(n.x), byte(n.x>>24), byte(n.x>>40)
	}
	n.left -= int64(len(p))
	return len(p), nil
}

// BenchmarkSnapshot uploads an object as large as a first snapshot: by the store, and by the SDK's own uploader with parts of the same
// size. "peak-MiB" is how much the heap grew beyond what it was before.
func BenchmarkSnapshot(b *testing.B) {
	endpoint, bucket := server(b)
	body := func() (io.ReadCloser, error) {
		return io.NopCloser(&noise{left: snapshotSize, x: 88172645463325252}), nil
	}
	run := func(name string, upload func(ctx context.Context, key string) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(snapshotSize)
			peak := watchHeap()
			for range b.N {
				if err := upload(b.Context(), name+"-"+strconv.FormatInt(uploads.Add(1), 10)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(peak(), "peak-MiB")
		})
	}
	s, err := store.Open(b.Context(), "s3://"+bucket)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	run("store", func(ctx context.Context, key string) error { return s.Create(ctx, key, body) })

	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true, HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider(testserver.S3AccessKey, testserver.S3SecretKey, ""),
	})
	uploader := transfermanager.New(client, func(o *transfermanager.Options) { o.PartSizeBytes = partSize })
	run("sdk", func(ctx context.Context, key string) error {
		in, _ := body()
		_, err := uploader.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &bucket, Key: &key, Body: in, IfNoneMatch: aws.String("*")})
		return err
	})
}

// watchHeap returns what tells how many MiB the heap grew at most until then.
func watchHeap() (peak func() float64) {
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	runtime.GC()
	before := inUse()
	var most atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			most.Store(max(most.Load(), inUse()))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 {
		close(stop)
		<-done
		return float64(most.Load()-before) / (1 << 20)
	}
}
