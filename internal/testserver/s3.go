package testserver

import "testing"

// Credentials of the server that S3 starts.
const (
	S3AccessKey = "seawal-test"
	S3SecretKey = "seawal-test-secret"
)

// S3 starts versitygw and returns its endpoint, "http://127.0.0.1:port". It has no bucket yet.
func S3(t testing.TB) (endpoint string) {
	t.Helper()
	program := find(t, "versitygw")
	address := freeAddress(t)
	start(t, address, []string{"ROOT_ACCESS_KEY=" + S3AccessKey, "ROOT_SECRET_KEY=" + S3SecretKey},
		program, "--quiet", "--port", address, "posix", t.TempDir())
	return "http://" + address
}
