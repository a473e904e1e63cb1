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
	s := Start(t, Program{
		Name: "versitygw",
		Args: func(addr, dir string) ([]string, error) {
			return []string{"--quiet", "--port", addr, "posix", dir}, nil
		},
		Env: []string{"ROOT_ACCESS_KEY=" + S3AccessKey, "ROOT_SECRET_KEY=" + S3SecretKey},
	})
	return "http://" + s.Addr
}
