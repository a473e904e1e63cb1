//go:build cgo

package vfs

import (
	"fmt"
	"net/url"
	"strings"
)

// go-sqlite3 looks for its parameters after the first "?" of a DSN that doesn't begin with one; SQLite does what
// https://sqlite.org/uri.html says with a name that begins with "file:", and takes any other one as it is. What is
// in this file does the same: the file that is replicated has to be the one that is opened.

const uriScheme = "file:"

// memoryVFS is SQLite's VFS for databases in memory, which have the names of files.
const memoryVFS = "memdb"

// splitDSN splits a DSN into the name of the database and the parameters. The fragment of a URI is left out.
func splitDSN(dsn string) (base, rawQuery string) {
	if strings.HasPrefix(dsn, uriScheme) {
		dsn, _, _ = strings.Cut(dsn, "#")
	}
	if strings.HasPrefix(dsn, "?") {
		return dsn, ""
	}
	base, rawQuery, _ = strings.Cut(dsn, "?")
	return base, rawQuery
}

func joinDSN(base, rawQuery string) string {
	if rawQuery == "" {
		return base
	}
	return base + "?" + rawQuery
}

// keepParams is what of rawQuery stays when only the names in kept may: spelled as it was, since SQLite and go-sqlite3
// don't decode alike ("+" is a blank to one of them only).
func keepParams(rawQuery string, kept url.Values) string {
	var parts []string
	for part := range strings.SplitSeq(rawQuery, "&") {
		if name := paramName(part); part != "" && kept.Has(name) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "&")
}

// paramName is the name in one "name=value" of a query.
func paramName(part string) string {
	name, _, _ := strings.Cut(part, "=")
	if unescaped, err := url.QueryUnescape(name); err == nil {
		return unescaped
	}
	return name
}

// filePath is the file that SQLite opens for a DSN without its parameters; "" for none.
func filePath(base string, q url.Values) (string, error) {
	path, isURI := strings.CutPrefix(base, uriScheme)
	if isURI {
		if after, hasAuthority := strings.CutPrefix(path, "//"); hasAuthority {
			host, rest, hasPath := strings.Cut(after, "/")
			switch {
			case host != "" && host != "localhost":
				return "", fmt.Errorf("%w: %q has the host %q, and a database is a file of this machine; use file:///path", ErrDSN, base, host)
			case !hasPath:
				return "", fmt.Errorf("%w: %q has a host and no path; use file:///path", ErrDSN, base)
			}
			path = "/" + rest
		}
		path = unescapeURI(path)
		if q.Has("vfs") && q.Get("vfs") == "" {
			return "", fmt.Errorf("%w: vfs is empty in the parameters of %q, and SQLite has no VFS of that name; leave it out", ErrDSN, base)
		}
		if q.Get("mode") == "memory" {
			return "", nil
		}
	}
	if path == ":memory:" || q.Get("vfs") == memoryVFS {
		return "", nil
	}
	return path, nil
}

// unescapeURI decodes a part of a URI as SQLite does: what is no escape stays, and an escaped zero ends it.
func unescapeURI(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			c := unhex(s[i+1])<<4 | unhex(s[i+2])
			if c == 0 {
				break
			}
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// at is the same target by the full path of its file.
func (t target) at(path string) target {
	base, rawQuery := splitDSN(t.dsn)
	if strings.HasPrefix(base, uriScheme) || strings.Contains(path, "?") {
		path = fileURI(path)
	}
	t.dsn = joinDSN(path, rawQuery)
	return t
}

// withParams is the DSN for go-sqlite3 with more parameters, in place of those of their names.
func (t target) withParams(params map[string]string) string {
	base, rawQuery := splitDSN(t.dsn)
	kept, more := url.Values{}, url.Values{}
	for k, v := range t.query {
		kept[k] = v
	}
	for k, v := range params {
		delete(kept, k)
		more.Set(k, v)
	}
	parts := make([]string, 0, 2)
	if rest := keepParams(rawQuery, kept); rest != "" {
		parts = append(parts, rest)
	}
	// SQLite takes a "+" for itself.
	parts = append(parts, strings.ReplaceAll(more.Encode(), "+", "%20"))
	return joinDSN(base, strings.Join(parts, "&"))
}
