package azure

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Keys and signatures are replaced under a process that goes on for months: in its environment, or in a file that a variable with
// fileSuffix names, as orchestrators mount them. They are asked for again whenever the service refuses what it is shown, and the
// next attempt has the new ones.

// fileSuffix is what a variable's name ends with when it names a file that has the value.
const fileSuffix = "_FILE"

// secret is the value of a variable of the environment, or the content of the file that the variable with fileSuffix names. The file
// counts where both are set, since it is what can be replaced.
func secret(name string) (string, error) {
	path := os.Getenv(name + fileSuffix)
	if path == "" {
		return os.Getenv(name), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s%s: %w", name, fileSuffix, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// client is the container with the credentials of now.
func (s *blobs) client() *container.Client { return s.current.Load() }

// refused takes in an error of the service: where other credentials might have been accepted, the next request has what is found now.
// While nothing usable is found, the old ones stay.
func (s *blobs) refused(err error) {
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
	default:
		return
	}
	c, err := s.connect()
	if err != nil || place(c) != place(s.client()) {
		return // what the environment leads to now is another container
	}
	s.current.Store(c)
}

// place is where a client's container is, without a signature.
func place(c *container.Client) string {
	at, _, _ := strings.Cut(c.URL(), "?")
	return at
}
