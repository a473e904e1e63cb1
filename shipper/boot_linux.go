package shipper

import (
	"os"
	"strings"
)

// readBootID names this boot of the machine; "" when the system doesn't say.
func readBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
