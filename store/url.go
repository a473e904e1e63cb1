package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// Opener opens the store that a URL names. The URL is parsed, and clean as
// Normalize leaves it but for its credentials, which are still there. An
// Opener must not put them into an error; Redact takes them out.
type Opener func(ctx context.Context, u *url.URL) (Store, error)

// importOf names the package to import for a scheme that is not registered.
var importOf = map[string]string{
	"gs":     "seawal/store/gcs",
	"azblob": "seawal/store/azure",
	"s3":     "seawal/store/s3",
	"sftp":   "seawal/store/sftp",
}

var registry = struct {
	mu      sync.RWMutex
	openers map[string]Opener // by scheme; under mu
}{openers: map[string]Opener{"file": openFileURL}}

// Register makes a scheme known to Open. Packages of stores call it from init. It
// panics when the scheme is empty, not in lower case or taken, or open is nil.
func Register(scheme string, open func(ctx context.Context, u *url.URL) (Store, error)) {
	if scheme == "" || scheme != strings.ToLower(scheme) || open == nil {
		panic(fmt.Sprintf("store: Register of scheme %q", scheme))
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if _, taken := registry.openers[scheme]; taken {
		panic(fmt.Sprintf("store: scheme %q registered twice", scheme))
	}
	registry.openers[scheme] = open
}

// ErrScheme is wrapped by the error of Open for a scheme that nothing registered.
var ErrScheme = errors.New("unknown scheme")

// Open opens the store that rawURL names: file:///path, or a scheme whose
// package is imported. It does not ask whether a replica is there, and a store
// may put off everything that needs its network. Errors show the URL without
// credentials. The caller closes the store.
func Open(ctx context.Context, rawURL string) (Store, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	registry.mu.RLock()
	open, ok := registry.openers[u.Scheme]
	known := slices.Sorted(maps.Keys(registry.openers))
	registry.mu.RUnlock()
	if !ok {
		return nil, schemeError(rawURL, u.Scheme, known)
	}
	s, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", Redact(rawURL), err)
	}
	return s, nil
}

func schemeError(rawURL, scheme string, known []string) error {
	way := "known here: " + strings.Join(known, ", ")
	if pkg, ok := importOf[scheme]; ok {
		way = fmt.Sprintf("import _ %q to have it", pkg)
	}
	return Permanent(fmt.Errorf("open store %s: %w %q; %s", Redact(rawURL), ErrScheme, scheme, way))
}

// Normalize returns the one spelling of rawURL that says which place it names, so
// that two databases on one replica can be told by comparing: scheme and host in
// lower case, no default port, the path cleaned and without a trailing slash,
// parameters sorted, and no credentials. It looks at the text only: a symbolic
// link, or two names of one host, make two spellings.
func Normalize(rawURL string) (string, error) {
	u, err := parse(rawURL)
	if err != nil {
		return "", err
	}
	withoutSecrets(u)
	return u.String(), nil
}

// Redact returns rawURL fit for a log: without password, and with the values of
// parameters that may be secrets replaced by "xxxxx". Of text that is no URL it
// shows only what stands before the first colon.
func Redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		scheme, _, found := strings.Cut(rawURL, ":")
		if !found {
			return "(unparsable)"
		}
		return scheme + ":(unparsable)"
	}
	q := u.Query()
	for k, values := range q {
		if IsSecretParam(k) {
			q.Set(k, "xxxxx")
			continue
		}
		for i, v := range values { // an endpoint is a URL, too
			if inner, err := url.Parse(v); err == nil && inner.User != nil {
				values[i] = inner.Redacted()
			}
		}
	}
	if u.RawQuery != "" {
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// withoutSecrets takes from u what proves who asks, which is not part of what is
// asked for.
func withoutSecrets(u *url.URL) {
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	maps.DeleteFunc(q, func(k string, _ []string) bool { return IsSecretParam(k) })
	u.RawQuery = q.Encode()
}

// IsSecretParam says that the parameter k of a URL may hold a credential. It is
// generous: one hidden too many costs a little clarity in a message. sig, se, sp
// and so on are the parts of an Azure SAS; se, sp, sv prove nothing without sig.
func IsSecretParam(k string) bool {
	k = strings.ToLower(k)
	if k == "sig" {
		return true
	}
	for _, part := range []string{"key", "secret", "token", "pass", "credential", "signature", "auth"} {
		if strings.Contains(k, part) {
			return true
		}
	}
	return false
}

// parse reads rawURL and cleans what doesn't change the place it names. Its
// errors never quote a part of rawURL that may hold a credential.
func parse(rawURL string) (*url.URL, error) {
	bad := func(why string) error {
		return Permanent(fmt.Errorf("replica URL %s: %s", Redact(rawURL), why))
	}
	if rawURL == "" {
		return nil, bad("it is empty")
	}
	u, err := url.Parse(rawURL)
	if err != nil { // its text quotes the input
		return nil, bad("it does not parse; write scheme://place/path with special characters percent-encoded")
	}
	if u.Scheme == "" {
		if path.IsAbs(u.Path) {
			return nil, bad(fmt.Sprintf("it has no scheme; a folder is written file://%s", u.Path))
		}
		return nil, bad("it has no scheme; write file:///path, gs://bucket/prefix or the like")
	}
	if u.Opaque != "" {
		return nil, bad(fmt.Sprintf("two slashes must follow %s:", u.Scheme))
	}
	if u.Fragment != "" {
		return nil, bad("it has a #fragment; percent-encode # as %23")
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, bad("its parameters do not parse; percent-encode special characters")
	}
	u.Host = strings.ToLower(u.Host)
	if host, ok := strings.CutSuffix(u.Host, ":22"); ok && u.Scheme == "sftp" && (!strings.Contains(host, ":") || strings.HasSuffix(host, "]")) {
		u.Host = host
	}
	u.Path, u.RawPath = cleanPath(u.Path), ""
	u.ForceQuery = false
	return u, nil
}

func cleanPath(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return ""
	}
	return p
}
