package gcs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"seawal/store/internal/transfer"
)

// answerSize is more than any answer needs that isn't an object's content, bytes: a page of a listing has 1,000 names.
const answerSize = 16 << 20

// checkSign holds an answer to what the service sends: the kind of what is described, the generation of what is read, an error
// in its own form.
func checkSign(resp *http.Response) error {
	h, q := resp.Header, resp.Request.URL.Query()
	switch {
	case h.Get("X-Guploader-Uploadid") != "" && resp.StatusCode >= 400, resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return nil // who meets the latter asks how long the object is
	case resp.StatusCode == http.StatusNoContent:
		if resp.Request.Method == http.MethodDelete {
			return nil
		}
		return transfer.ErrNoSign
	case resp.StatusCode < 300 && q.Get("alt") == "media":
		if h.Get("X-Goog-Generation") == "" && h.Get("X-Goog-Hash") == "" {
			return errors.New("it has no generation")
		}
		return nil
	case resp.StatusCode < 300 && q.Get("uploadType") == "resumable" && h.Get("Location") != "":
		return nil
	}
	b, err := transfer.Peek(resp, answerSize)
	if err != nil {
		return err
	}
	var said struct {
		Kind  string
		Error any
	}
	switch err := json.Unmarshal(b, &said); {
	case resp.StatusCode >= 400 && err == nil && said.Error != nil:
	case resp.StatusCode < 300 && err == nil && strings.HasPrefix(said.Kind, "storage#"):
	case resp.Request.Method == http.MethodDelete && (len(b) == 0 || strings.TrimSpace(string(b)) == "null") && strings.HasPrefix(h.Get("Content-Type"), "application/json"):
	case resp.StatusCode >= 400 && strings.HasPrefix(string(b), "No such object: "): // to a read of content
	default:
		return transfer.ErrNoSign
	}
	return nil
}
