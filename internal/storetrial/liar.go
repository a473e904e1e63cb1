package storetrial

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"seawal/internal/testserver/proxy"
	"seawal/store"
)

// Liars puts in front of a store what answers in the place of its service: a portal, a load balancer whose backend is gone, a
// cache. None of their answers is believed: nothing is taken for stored, for empty, for gone or for taken; and once
// they are away the store works as before.
func Liars(t *testing.T, s store.Store, p *proxy.HTTP) {
	ctx := t.Context()
	content := strings.Repeat("0123456789abcdef", 256)
	create := func(name string, body []byte) error { return s.Create(ctx, name, store.BytesBody(body)) }
	if err := create("liar/there", []byte(content)); err != nil {
		t.Fatal(err)
	}
	read := func(off, n int64) error {
		r, err := s.Read(ctx, "liar/there", off, n)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		if want := content[off:]; n >= 0 && string(b) != want[:n] || n < 0 && string(b) != want {
			return nil // believed
		}
		return errRight
	}
	large := make([]byte, 9<<20)
	verbs := []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return create("liar/new", []byte("content")) }},
		{"create a large one", func() error { return create("liar/large", large) }},
		{"read", func() error { return read(0, -1) }},
		{"read a range", func() error { return read(1000, 50) }},
		{"read its end", func() error { return read(4000, -1) }},
		{"stat", func() error { _, err := s.Stat(ctx, "liar/there"); return err }},
		{"list", func() error {
			for _, err := range s.List(ctx, "liar/", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"delete", func() error { return s.Delete(ctx, "liar/there") }},
	}
	for _, lie := range []struct {
		status     int
		kind, body string
	}{
		{200, "text/html", "<html><body>Sign in</body></html>"},
		{200, "", ""},
		{200, "application/json", "{}"},
		{200, "application/xml", `<?xml version="1.0"?><html/>`},
		{204, "", ""},
		{404, "text/html", "<html><body>404 page not found</body></html>"},
		{404, "", ""},
		{404, "application/json", `{"message":"no route"}`},
		{412, "text/plain", "precondition failed"},
	} {
		t.Run(fmt.Sprintf("%d %s", lie.status, lie.kind), func(t *testing.T) {
			for _, v := range verbs {
				if v.name == "delete" && lie.status == http.StatusNoContent {
					continue // some services send no more than that; what is believed to be deleted takes room, and does no harm
				}
				p.Inject(proxy.Any, -1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
					io.Copy(io.Discard, r.Body) // a portal takes what comes
					if lie.kind != "" {
						w.Header().Set("Content-Type", lie.kind)
					}
					w.WriteHeader(lie.status)
					if r.Method != http.MethodHead {
						io.WriteString(w, lie.body)
					}
				})
				notBelieved(t, v.name, v.do())
				p.Clear()
			}
		})
	}
	t.Run("ranges are ignored", func(t *testing.T) {
		p.Inject(proxy.Any, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("Range")
			r.Header.Del("X-Ms-Range")
			next.ServeHTTP(w, r)
		})
		defer p.Clear()
		for _, at := range [][2]int64{{1000, 50}, {4000, -1}} {
			if err := read(at[0], at[1]); err == nil {
				t.Errorf("%d bytes from %d on: others are believed", at[1], at[0])
			}
		}
	})
	// They are away: everything is as it was.
	for _, off := range []int64{0, 1000} {
		if err := read(off, 50); err != errRight {
			t.Errorf("read afterwards: %v", err)
		}
	}
	if err := create("liar/new", []byte("content")); err != nil {
		t.Errorf("create afterwards: %v", err)
	}
	if err := create("liar/new", []byte("content")); !errors.Is(err, store.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := s.Stat(ctx, "liar/nothing"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat of what isn't there: %v", err)
	}
	if r, err := s.Read(ctx, "liar/nothing", 0, -1); err == nil {
		if _, err = io.ReadAll(r); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("read of what isn't there: %v", err)
		}
		r.Close()
	} else if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("read of what isn't there: %v", err)
	}
}

// errRight says that what was read is right.
var errRight = errors.New("right")

// notBelieved wants an error that is worth another attempt, and no answer.
func notBelieved(t *testing.T, verb string, err error) {
	t.Helper()
	switch {
	case err == nil || errors.Is(err, errRight):
		t.Errorf("%s: believed", verb)
	case errors.Is(err, store.ErrExist) || errors.Is(err, store.ErrNotExist):
		t.Errorf("%s: taken for an answer: %v", verb, err)
	case store.IsPermanent(err):
		t.Errorf("%s: it would not be tried again: %v", verb, err)
	}
}
