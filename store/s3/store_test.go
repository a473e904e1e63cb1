package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
	_ "seawal/store/s3"
	"seawal/store/storetest"
)

func TestMain(m *testing.M) { storetrial.Main(m) }

var buckets atomic.Int64

// server starts the service, with the environment that leads to it, and makes a bucket.
func server(t testing.TB) (endpoint, bucket string) {
	t.Helper()
	endpoint = testserver.S3(t)
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": testserver.S3AccessKey, "AWS_SECRET_ACCESS_KEY": testserver.S3SecretKey, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(k, v)
	}
	bucket = newName("bucket")
	if _, err := admin(endpoint).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return endpoint, bucket
}

// newName is one that no test has used on the server, which all of them share.
func newName(kind string) string { return fmt.Sprintf("%s-%d", kind, buckets.Add(1)) }

func TestStore(t *testing.T) {
	_, bucket := server(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), fmt.Sprintf("s3://%s/some/prefix %%25-%d/", bucket, n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
