package transfer

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// An application that may use approved algorithms only must not end at its first upload.
func TestMD5WhereItIsForbidden(t *testing.T) {
	const want = "9a0364b9e99bb480dd25e1f0284c8555"
	if got := fmt.Sprintf("%x", MD5([]byte("content"))); got != want {
		t.Errorf("MD5 is %s, want %s", got, want)
	}
	if os.Getenv("SEAWAL_TEST_FIPS") != "" {
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMD5WhereItIsForbidden$")
	cmd.Env = append(os.Environ(), "SEAWAL_TEST_FIPS=1", "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with fips140=only: %v\n%s", err, out)
	}
}
