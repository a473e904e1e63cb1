package s3_test

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// b2 plays Backblaze B2 as far as its documentation tells where it differs from Amazon: If-None-Match is not implemented, and every
// version of a name is kept, the newest first. Signatures are not looked at.
type b2 struct {
	mu      sync.Mutex
	next    int
	objects map[string][]b2Version // the newest first
	uploads map[string]map[int][]byte
}

type b2Version struct {
	id   string
	body []byte
	at   time.Time
}

// newB2 starts the server, with the environment that leads to it.
func newB2(t *testing.T) {
	t.Helper()
	s := httptest.NewServer(&b2{objects: map[string][]b2Version{}, uploads: map[string]map[int][]byte{}})
	t.Cleanup(s.Close)
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_S3": s.URL, "AWS_REGION": "us-west-004", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(k, v)
	}
}

func (s *b2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := fmt.Sprintf("4_z%08d", s.next)
	w.Header().Set("X-Amz-Request-Id", id)
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case r.Header.Get("If-None-Match") != "":
		s.fail(w, http.StatusNotImplemented, "NotImplemented")
	case q.Has("versions"):
		s.listVersions(w, q.Get("prefix"), q.Get("key-marker"), q.Get("version-id-marker"))
	case q.Has("uploads"):
		s.uploads[id] = map[int][]byte{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		n, _ := strconv.Atoi(q.Get("partNumber"))
		s.uploads[q.Get("uploadId")][n] = body
		w.Header().Set("ETag", fmt.Sprintf("%q", id))
	case r.Method == http.MethodPost && q.Has("uploadId"):
		var whole []byte
		parts := s.uploads[q.Get("uploadId")]
		for n := 1; n <= len(parts); n++ {
			whole = append(whole, parts[n]...)
		}
		delete(s.uploads, q.Get("uploadId"))
		s.store(w, key, q.Get("uploadId"), whole) // the id is of when it was begun
		fmt.Fprintf(w, `<CompleteMultipartUploadResult><ETag>"%s"</ETag></CompleteMultipartUploadResult>`, id)
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		delete(s.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		w.Header().Set("ETag", fmt.Sprintf("%q", id))
		s.store(w, key, id, body)
	case r.Method == http.MethodDelete:
		s.objects[key] = slices.DeleteFunc(s.objects[key], func(v b2Version) bool { return v.id == q.Get("versionId") })
		w.WriteHeader(http.StatusNoContent)
	default:
		s.read(w, r, key, q.Get("versionId"))
	}
}

func (s *b2) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

func (s *b2) store(w http.ResponseWriter, key, id string, body []byte) {
	w.Header().Set("X-Amz-Version-Id", id)
	all := append(s.objects[key], b2Version{id: id, body: body, at: time.Now()})
	slices.SortFunc(all, func(a, b b2Version) int { return cmp.Compare(b.id, a.id) })
	s.objects[key] = all
}

func (s *b2) read(w http.ResponseWriter, r *http.Request, key, id string) {
	for _, v := range s.objects[key] {
		if id == "" || id == v.id {
			w.Header().Set("ETag", fmt.Sprintf("%q", v.id))
			w.Header().Set("X-Amz-Version-Id", v.id)
			http.ServeContent(w, r, "", v.at, bytes.NewReader(v.body))
			return
		}
	}
	s.fail(w, http.StatusNotFound, "NoSuchKey")
}

// listVersions answers with a few at a time, so that pages end inside names, too.
func (s *b2) listVersions(w http.ResponseWriter, prefix, afterKey, afterID string) {
	type entry struct {
		Key       string
		VersionID string `xml:"VersionId"`
		Size      int
	}
	out := struct {
		XMLName             xml.Name `xml:"ListVersionsResult"`
		Name                string
		IsTruncated         bool
		NextKeyMarker       string  `xml:",omitempty"`
		NextVersionIDMarker string  `xml:"NextVersionIdMarker,omitempty"`
		Version             []entry `xml:"Version"`
	}{Name: "bucket"}
	var keys []string
	for k := range s.objects {
		if strings.HasPrefix(k, prefix) && (k > afterKey || k == afterKey && afterID != "") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		for _, v := range s.objects[k] {
			if k == afterKey && v.id >= afterID {
				continue
			}
			if len(out.Version) == 3 {
				out.IsTruncated = true
				last := out.Version[2]
				out.NextKeyMarker, out.NextVersionIDMarker = last.Key, last.VersionID
				break
			}
			out.Version = append(out.Version, entry{k, v.id, len(v.body)})
		}
		if out.IsTruncated {
			break
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out)
}
