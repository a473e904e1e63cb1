package s3_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
)

// admin is a client that may do what no store asks for.
func admin(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(testserver.S3AccessKey, testserver.S3SecretKey, ""),
	})
}

// locked makes a bucket whose objects can be neither changed nor deleted for a day, which keeps versions therefore.
func locked(t *testing.T, client *s3.Client) (bucket string) {
	t.Helper()
	bucket = newName("locked")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
		Bucket: &bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// versioned makes a bucket that keeps versions.
func versioned(t *testing.T, client *s3.Client) (bucket string) {
	t.Helper()
	bucket = newName("versioned")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// Where versions are kept, and where objects are locked, an object is created once and in both ways, and deleting it hides it. The
// bucket has to be what it is meant to be: a version is left, and can't be deleted where it is locked.
func TestKept(t *testing.T) {
	endpoint, _ := server(t)
	client := admin(endpoint)
	for _, c := range []struct {
		bucket string
		locked bool
	}{{versioned(t, client), false}, {locked(t, client), true}} {
		t.Run(c.bucket, func(t *testing.T) {
			s, err := store.Open(t.Context(), "s3://"+c.bucket+"/kept")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for name, size := range map[string]int64{"whole": 7, "parts": partSize + 1} {
				body := store.BytesBody(make([]byte, size))
				if err := s.Create(t.Context(), name, body); err != nil {
					t.Fatal(err)
				}
				if err := s.Create(t.Context(), name, body); !errors.Is(err, store.ErrExist) {
					t.Errorf("%s again: %v", name, err)
				}
				if o, err := s.Stat(t.Context(), name); err != nil || o.Size != size {
					t.Errorf("stat %s: %+v, %v", name, o, err)
				}
				wantListed(t, s, name)
				if err := s.Delete(t.Context(), name); err != nil {
					t.Errorf("delete %s: %v", name, err)
				}
				if o, err := s.Stat(t.Context(), name); !errors.Is(err, store.ErrNotExist) {
					t.Errorf("stat %s when it is deleted: %+v, %v", name, o, err)
				}
				wantListed(t, s)
				wantVersion(t, client, c.bucket, "kept/"+name, c.locked)
			}
			storetrial.RoundTrip(t, "s3://"+c.bucket+"/app")
		})
	}
}

func wantListed(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	var names []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", names, want)
	}
}

// wantVersion wants one version of an object that was deleted, and looks whether it can be deleted for good.
func wantVersion(t *testing.T, client *s3.Client, bucket, key string, locked bool) {
	t.Helper()
	kept, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &key})
	if err != nil {
		t.Fatal(err)
	}
	if len(kept.Versions) != 1 {
		t.Fatalf("%d versions of %s are kept, want 1", len(kept.Versions), key)
	}
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: kept.Versions[0].VersionId})
	if (err != nil) != locked {
		t.Errorf("the version of %s, locked: %v; deleting it: %v", key, locked, err)
	}
}

// public makes a bucket that anybody may read and list.
func public(t *testing.T, endpoint string) (bucket string) {
	t.Helper()
	bucket = newName("public")
	client := admin(endpoint)
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(fmt.Sprintf(`{"Statement": [
		{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::%[1]s/*"},
		{"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::%[1]s"}]}`, bucket))})
	if err != nil {
		t.Fatal(err)
	}
	storetrial.Get(t, endpoint+"/"+bucket+"?list-type=2")
	return bucket
}

// A bucket that anybody may read can be restored from with anybody's credentials, but not without any: the error says which to set.
func TestPublicBucket(t *testing.T) {
	endpoint, _ := server(t)
	at := "s3://" + public(t, endpoint) + "/app"
	somebody := newName("user")
	testserver.S3User(t, endpoint, somebody, "secret-of-a-user")
	storetrial.ReadOnly(t, at, storetrial.Bad{
		Name: "somebody writes", URL: at, Want: "no permission s3:PutObject",
		Env: map[string]string{"AWS_ACCESS_KEY_ID": somebody, "AWS_SECRET_ACCESS_KEY": "secret-of-a-user"},
	})
	t.Run("nobody", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		storetrial.Refused(t, at, "no credentials were found; set AWS_ACCESS_KEY_ID")
	})
}
