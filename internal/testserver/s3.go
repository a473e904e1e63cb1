package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Credentials of the server that S3 starts.
const (
	S3AccessKey = "seawal-test"
	S3SecretKey = "seawal-test-secret"
)

const s3Program = "versitygw"

// S3 starts versitygw and returns its endpoint, "http://127.0.0.1:port". It has no bucket yet. Buckets may keep the versions of their
// objects and lock them, and there may be other users (S3User).
func S3(t testing.TB) (endpoint string) {
	t.Helper()
	s := Start(t, Program{
		Name: s3Program,
		Args: func(addr, dir string) ([]string, error) {
			in := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"buckets", "versions", "users"} {
				if err := os.Mkdir(in(name), 0o700); err != nil {
					return nil, err
				}
			}
			return []string{"--quiet", "--port", addr, "--iam-dir", in("users"), "posix", "--versioning-dir", in("versions"), in("buckets")}, nil
		},
		Env: []string{"ROOT_ACCESS_KEY=" + S3AccessKey, "ROOT_SECRET_KEY=" + S3SecretKey},
	})
	return "http://" + s.Addr
}

// S3User makes a user who owns nothing, on a server of S3.
func S3User(t testing.TB, endpoint, accessKey, secretKey string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Find(t, s3Program), "admin", "--endpoint-url", endpoint,
		"--access", S3AccessKey, "--secret", S3SecretKey, "create-user", "--access", accessKey, "--secret", secretKey, "--role", "user").CombinedOutput()
	if err != nil {
		t.Fatalf("make user %s: %v\n%s", accessKey, err, out)
	}
}
