package storetrial

import (
	"strings"
	"testing"

	"seawal/store"
)

// Bad is something that a person has got wrong.
type Bad struct {
	Name, URL string
	Env       map[string]string // beside what is set
	Want      string            // part of the error
}

// BadInput wants each mistake to be told at once, by Open or by the first Create, with the way out, and never with one of the
// secrets.
func BadInput(t *testing.T, cases []Bad, secrets ...string) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for k, v := range c.Env {
				t.Setenv(k, v)
			}
			s, err := store.Open(t.Context(), c.URL)
			if err == nil {
				defer s.Close()
				err = s.Create(t.Context(), "a", store.BytesBody([]byte("content")))
			}
			if err == nil || !strings.Contains(err.Error(), c.Want) {
				t.Fatalf("%v; want %q", err, c.Want)
			}
			if !store.IsPermanent(err) {
				t.Errorf("it would be tried again: %v", err)
			}
			for _, secret := range secrets {
				if strings.Contains(strings.ReplaceAll(err.Error(), "=xxxxx", ""), secret) {
					t.Errorf("shows a secret: %v", err)
				}
			}
		})
	}
}
