package sftp

import (
	"net/url"
	"testing"
	"time"

	"seawal/store"
)

// Options are what a test may want otherwise; zero: as ever.
type Options struct {
	Patience, Keepalive, Idle time.Duration
	Window                    int
}

// OpenWith is open with options.
func OpenWith(t *testing.T, rawURL string, o Options) store.Store {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	to, err := parse(u)
	if err != nil {
		t.Fatal(err)
	}
	s := newFiles(to)
	for _, d := range []struct{ to, from *time.Duration }{{&s.patience, &o.Patience}, {&s.keepalive, &o.Keepalive}, {&s.idle, &o.Idle}} {
		if *d.from != 0 {
			*d.to = *d.from
		}
	}
	if o.Window != 0 {
		s.window = o.Window
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Connected says whether the store has a connection.
func Connected(s store.Store) bool {
	f := s.(*files)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current != nil && !f.current.isEnded()
}

// HiddenFolder is where temporary files are.
const HiddenFolder = hiddenFolder

// Names is the reading of a packet with names.
func Names(b []byte) (int, error) {
	entries, err := (&packet{b: b}).names()
	return len(entries), err
}
