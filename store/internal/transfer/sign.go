package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Signed lets an answer pass only when something in it shows that the service gave it. What stands between may answer in its
// place: a proxy, a captive portal, a load balancer whose backend is gone. Their 200 to a listing would be an empty replica, their 404
// one that doesn't exist, their 200 to an upload a segment that is nowhere.
type Signed struct {
	Base http.RoundTripper

	// Check says what is missing in an answer with a status below 500 that isn't a redirect. It may read the body with Peek.
	Check func(*http.Response) error
}

// UnsignedError is an answer that isn't known to be the service's. It is neither "does not exist" nor "exists", and it may go
// away by itself.
type UnsignedError struct {
	Status int
	Type   string // of the content
	Err    error  // what is missing
}

func (e *UnsignedError) Error() string {
	return fmt.Sprintf("something else than the service answered, HTTP %d with content of type %q: %v; look for a proxy or a portal in between", e.Status, e.Type, e.Err)
}

func (e *UnsignedError) Unwrap() error { return e.Err }

// RoundTrip implements http.RoundTripper.
func (s Signed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.Base.RoundTrip(r)
	if err != nil || !isVerdict(resp.StatusCode) {
		return resp, err
	}
	err = s.Check(resp)
	if err == nil {
		err = checkRange(resp)
	}
	if err != nil {
		resp.Body.Close()
		return nil, &UnsignedError{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Err: err}
	}
	return resp, nil
}

// isVerdict says whether something is concluded from an answer; the others are worth another attempt, whoever gave them.
func isVerdict(status int) bool {
	return status < 300 || status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
}

// Peek returns the first n bytes of the body, or what there is of them, which stay to be read.
func Peek(resp *http.Response, n int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, n))
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(b), resp.Body), resp.Body}
	return b, nil
}

// checkRange says whether the answer to a read of a range holds that range. One that knows no ranges sends the object from its start.
func checkRange(resp *http.Response) error {
	asked := resp.Request.Header.Get("Range")
	if x := resp.Request.Header.Get("x-ms-range"); x != "" {
		asked = x
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(asked, "bytes="), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || resp.StatusCode >= 300 || resp.Request.Method != http.MethodGet {
		return nil // no range, or no bytes
	}
	if resp.StatusCode != http.StatusPartialContent {
		if from == 0 {
			return nil // it begins where it should; how far it is read is for the reader
		}
		return fmt.Errorf("%s was asked for, and all of the object came", asked)
	}
	is := resp.Header.Get("Content-Range")
	got, _, _ := strings.Cut(strings.TrimPrefix(is, "bytes "), "/")
	gotFirst, gotLast, ok := strings.Cut(got, "-")
	end, err := strconv.ParseInt(gotLast, 10, 64)
	switch {
	case !ok || err != nil || gotFirst != first:
		return fmt.Errorf("%s was asked for, and %q came", asked, is)
	case last != "":
		if want, err := strconv.ParseInt(last, 10, 64); err != nil || end > want {
			return fmt.Errorf("%s was asked for, and %q came", asked, is)
		}
	}
	if n := resp.ContentLength; n >= 0 && n != end-from+1 {
		return fmt.Errorf("%q came with %d bytes", is, n)
	}
	return nil
}

// ErrNoSign is what Check returns for an answer that shows nothing of the service.
var ErrNoSign = errors.New("nothing in it is the service's")
