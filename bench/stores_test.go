package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/bench/internal/design"
	"seawal/internal/testserver"
)

// flagsWithStores, when it is set (make bench-stores), are the flags of a run whose numbers count.
const flagsWithStores = "SEAWAL_BENCH_STORES_FLAGS"

// TestWithStores runs the benchmark with all stores, played by servers on this machine. It is a test since those want one.
func TestWithStores(t *testing.T) {
	startStores(t)
	if flags, ok := os.LookupEnv(flagsWithStores); ok {
		if code := command(strings.Fields(flags)); code != 0 {
			t.Errorf("exit code %d", code)
		}
		return
	}
	dir := t.TempDir()
	o, err := parseFlags([]string{"-quick", "-run", "^stores$", "-pairs", "1", "-seconds", "0.02", "-dir", dir, "-json", filepath.Join(dir, "r.json")})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	f, err := readFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	w := f.Workload("stores")
	if len(design.Clouds) != 4 {
		t.Errorf("stores: %v", design.Clouds)
	}
	for name := range design.Clouds {
		runs := w.Of(name)
		if len(runs) != 1 {
			t.Errorf("%s was measured %d times", name, len(runs))
			continue
		}
		if r := runs[0]; r.Ops == 0 || r.Shipped == 0 || r.Objects == 0 || r.Requests < r.Objects || r.Lag.Count() == 0 {
			t.Errorf("%s: a run without figures: %+v", name, r)
		}
	}
}

// startStores starts the servers and makes the environment lead to them.
func startStores(t *testing.T) {
	t.Helper()
	sftp := testserver.SFTP(t)
	for k, v := range map[string]string{
		"SEAWAL_BENCH_GCS":   "gs://" + gcsBucket(t),
		"SEAWAL_BENCH_S3":    "s3://" + s3Bucket(t),
		"SEAWAL_BENCH_AZURE": "azblob://" + azureContainer(t),
		"SEAWAL_BENCH_SFTP":  sftp.URL(sftp.Addr, "replicas"),
	} {
		t.Setenv(k, v)
	}
}

func gcsBucket(t *testing.T) string {
	t.Helper()
	const name = "bench"
	s := testserver.GCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", s.Addr)
	testserver.MakeGCSBucket(t, s, name)
	return name
}

func s3Bucket(t *testing.T) string {
	t.Helper()
	const name = "bench"
	endpoint := testserver.S3(t)
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1", "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_ACCESS_KEY_ID": testserver.S3AccessKey, "AWS_SECRET_ACCESS_KEY": testserver.S3SecretKey, "AWS_SESSION_TOKEN": "",
	} {
		t.Setenv(k, v)
	}
	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(testserver.S3AccessKey, testserver.S3SecretKey, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
	return name
}

func azureContainer(t *testing.T) string {
	t.Helper()
	const name = "bench"
	connection := testserver.AzureConnectionString(testserver.Azure(t).Addr)
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
	client, err := azblob.NewClientFromConnectionString(connection, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateContainer(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	return name
}
