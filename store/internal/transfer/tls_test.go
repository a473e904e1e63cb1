package transfer

import (
	"strings"
	"testing"
)

func TestRequireTLS(t *testing.T) {
	for _, tt := range []struct {
		name, endpoint string
		insecure       bool
		refused        bool
	}{
		{name: "encrypted", endpoint: "https://host/x"},
		{name: "cleartext", endpoint: "http://user:hunter2@host:9000/x?sig=hunter2", refused: true},
		{name: "cleartext that is wanted", endpoint: "http://host:9000", insecure: true},
		{name: "this machine by name", endpoint: "http://localhost:9000"},
		{name: "this machine by address", endpoint: "http://127.8.8.8"},
		{name: "this machine by address of version 6", endpoint: "http://[::1]:1"},
		{name: "another machine in the same network", endpoint: "http://192.0.2.1", refused: true},
		{name: "a name that begins as this machine's", endpoint: "http://localhost.example", refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := RequireTLS(tt.endpoint, tt.insecure)
			if (err != nil) != tt.refused {
				t.Fatalf("error is %v, want one: %v", err, tt.refused)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has a secret: %v", err)
			}
		})
	}
}
