package s3_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/internal/testserver"
	"seawal/store"
	s3store "seawal/store/s3"
)

// player plays services in front of one server.
type player struct {
	endpoint *url.URL
	cert     tls.Certificate
}

// newPlayer starts the server, and sets the environment: credentials, and a certificate for the hosts of all profiles.
func newPlayer(t *testing.T) *player {
	t.Helper()
	endpoint, _ := server(t)
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{endpoint: u}
	var bundle []byte
	p.cert, bundle = certificate(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "", "AWS_CA_BUNDLE": path} {
		t.Setenv(k, v)
	}
	return p
}

// certificate is one for all hosts, which is its own authority.
func certificate(t *testing.T) (cert tls.Certificate, bundle []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	for _, p := range profiles {
		host, _, _ := strings.Cut(p.host, ":")
		template.DNSNames = append(template.DNSNames, host)
		if _, region, ok := strings.Cut(host, "."); ok && p.inHost {
			template.DNSNames = append(template.DNSNames, "*."+region)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serve starts a service, and returns how stores at rawURL are opened: each at a prefix of its own, in a bucket that was made for it.
func (p *player) serve(t *testing.T, service profile, c condition, rawURL string) (open func(t *testing.T) store.Store) {
	t.Helper()
	bucket := newName("played")
	if _, err := admin(p.endpoint.String()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	h := &played{t: t, profile: service, condition: c, bucket: bucket, host: service.host, sizes: map[string]map[int]int64{}}
	if service.inHost {
		h.host = strings.Replace(service.host, "bucket", bucket, 1)
	}
	h.next = h.gateway(p.endpoint)
	if c == conditionRefused && service.before == "" {
		h.next = &b2{objects: map[string][]b2Version{}, uploads: map[string]map[int][]byte{}}
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{p.cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	n := 0
	return func(t *testing.T) store.Store {
		t.Helper()
		n++
		at := strings.Replace(strings.Replace(rawURL, "//bucket", "//"+bucket, 1), "/app", fmt.Sprintf("/app-%d", n), 1)
		opened, err := store.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		s3store.DialTo(opened, s.Listener.Addr().String())
		return opened
	}
}

// played is a service.
type played struct {
	profile
	t         *testing.T
	condition condition
	bucket    string
	host      string
	next      http.Handler

	mu    sync.Mutex
	sizes map[string]map[int]int64 // of the parts of uploads; under mu
}

// ServeHTTP looks at a request as the service would, and lets it pass to the server.
func (s *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, inBucket := strings.CutPrefix(r.URL.EscapedPath(), "/"+s.bucket)
	if s.inHost {
		path, inBucket = r.URL.EscapedPath(), true
	}
	switch {
	case r.Host != s.host || r.TLS == nil || r.TLS.ServerName != strings.Split(s.host, ":")[0]:
		s.refuse(w, http.StatusForbidden, "AccessDenied", "the host is "+r.Host)
	case !inBucket:
		s.refuse(w, http.StatusNotFound, "NoSuchBucket", "the path is "+r.URL.Path)
	case s.unsigned(r) != "":
		s.refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", s.unsigned(r))
	case !s.checksums && s.newer(r) != "":
		s.refuse(w, http.StatusNotImplemented, "NotImplemented", s.newer(r))
	case s.badParts(r) != "":
		s.refuse(w, http.StatusBadRequest, "InvalidPart", s.badParts(r))
	case s.condition == conditionRefused && r.Header.Get("If-None-Match") != "":
		s.answer(w, http.StatusNotImplemented, "NotImplemented", "a header you provided implies functionality that is not implemented")
	default:
		if s.ignores(r) {
			r.Header.Del("If-None-Match")
		}
		r.URL.Path, r.URL.RawPath = mustUnescape(path), path
		r.Header.Del("X-Tigris-Consistent")
		if s.condition == conditionRefused {
			r.URL.Path = "/" + s.bucket + r.URL.Path
		}
		s.next.ServeHTTP(w, r)
	}
}

func mustUnescape(path string) string {
	p, err := url.PathUnescape(path)
	if err != nil {
		panic(err)
	}
	return p
}

// refuse fails the test, too: the store has done what the service wouldn't take.
func (s *played) refuse(w http.ResponseWriter, status int, code, why string) {
	s.t.Errorf("%s refuses a request: %s: %s", s.service, code, why)
	s.answer(w, status, code, why)
}

func (s *played) answer(w http.ResponseWriter, status int, code, why string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, why)
}

// ignores says whether the service doesn't look at the condition of a request.
func (s *played) ignores(r *http.Request) bool {
	switch s.condition {
	case conditionIgnored:
		return true
	case conditionOnePiece:
		return r.Method == http.MethodPost
	case conditionMarked:
		return r.Header.Get("X-Tigris-Consistent") != "true" // a writer in another region would not be seen
	}
	return false
}

// newer names a header that older software doesn't know, and refuses.
func (s *played) newer(r *http.Request) string {
	for k := range r.Header {
		if strings.HasPrefix(k, "X-Amz-Checksum-") || k == "X-Amz-Sdk-Checksum-Algorithm" || k == "X-Amz-Trailer" || k == "Content-Encoding" {
			return k
		}
	}
	return ""
}

// badParts says what is wrong with the parts of an upload that are there.
func (s *played) badParts(r *http.Request) string {
	id := r.URL.Query().Get("uploadId")
	number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && r.Method == http.MethodPut {
		if s.sizes[id] == nil {
			s.sizes[id] = map[int]int64{}
		}
		s.sizes[id][number] = r.ContentLength
		if s.parts > 0 && number > s.parts {
			return fmt.Sprintf("part %d of %d", number, s.parts)
		}
	}
	if r.Method == http.MethodPost && id != "" && s.equal {
		for n, size := range s.sizes[id] {
			if n < len(s.sizes[id]) && size != s.sizes[id][1] {
				return "all non-trailing parts must have the same length"
			}
		}
	}
	return ""
}

// unsigned says what is wrong with the signature of a request, "" when it is right.
func (s *played) unsigned(r *http.Request) string {
	auth := r.Header.Get("Authorization")
	field := func(name string) string {
		_, rest, _ := strings.Cut(auth, name+"=")
		value, _, _ := strings.Cut(rest, ",")
		return value
	}
	if scope := strings.Split(field("Credential"), "/"); len(scope) != 5 || scope[2] != s.region {
		return "it is signed for " + field("Credential") + ", and the region is " + s.region
	}
	again := r.Clone(r.Context())
	again.URL.Scheme, again.URL.Host = "https", r.Host
	again.Header, again.ContentLength = http.Header{}, 0
	for _, name := range strings.Split(field("SignedHeaders"), ";") {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err.Error()
	}
	if err := signAs(again, s.region, at); err != nil {
		return err.Error()
	}
	if got := again.Header.Get("Authorization"); got != auth {
		return "it is " + auth + ", and should be " + got
	}
	return ""
}

// signAs signs a request with the credentials of the server.
func signAs(r *http.Request, region string, at time.Time) error {
	credentials := aws.Credentials{AccessKeyID: testserver.S3AccessKey, SecretAccessKey: testserver.S3SecretKey}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return signer.SignHTTP(r.Context(), credentials, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, at)
}

// gateway passes requests to the server, which has its own idea of host and region, and changes what its answers say of it.
func (s *played) gateway(endpoint *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			out := pr.Out
			out.URL.Scheme, out.URL.Host, out.Host = endpoint.Scheme, endpoint.Host, endpoint.Host
			out.URL.Path, out.URL.RawPath = "/"+s.bucket+out.URL.Path, "/"+s.bucket+out.URL.RawPath
			out.Header.Del("Authorization")
			if err := signAs(out, "us-east-1", time.Now()); err != nil {
				s.t.Error(err)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			for k := range resp.Header {
				if strings.HasPrefix(k, "X-Amz-") {
					delete(resp.Header, k)
				}
			}
			if s.requestID != "" {
				resp.Header.Set("X-Amz-Request-Id", s.requestID+"0b7a")
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}
