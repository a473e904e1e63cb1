//go:build cgo

package vfs

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"seawal/store"
)

// Whoever mistypes a parameter would have a database that isn't replicated, or not as it was meant, and would
// learn it when it is needed. SQLite and go-sqlite3 say nothing of a name that they don't know; so we do.

// ourParams are the names of our parameters.
func ourParams() []string {
	names := []string{"_replica"}
	for _, p := range new(target).params() {
		names = append(names, p.name)
	}
	return names
}

// theirParams are the names that SQLite, its unix VFS and go-sqlite3 know. None of them is taken for a misspelling of ours.
var theirParams = []string{
	"vfs", "mode", "cache", "psow", "nolock", "immutable", "modeof", "readonly_shm", "8_3_names", "ptr", "sz", "max",
	"_auth", "_auth_user", "_auth_pass", "_auth_crypt", "_auth_salt", "_auto_vacuum", "_vacuum", "_busy_timeout", "_timeout",
	"_cache_size", "_case_sensitive_like", "_cslike", "_defer_foreign_keys", "_defer_fk", "_foreign_keys", "_fk",
	"_ignore_check_constraints", "_journal_mode", "_journal", "_loc", "_locking_mode", "_locking", "_mutex", "_query_only",
	"_recursive_triggers", "_rt", "_secure_delete", "_stmt_cache_size", "_synchronous", "_sync", "_txlock", "_writable_schema",
}

// storeParams are the names of the parameters that URLs of replicas have. One of them among those of the DSN comes from
// an "&" that wasn't encoded.
var storeParams = []string{
	"region", "endpoint", "path_style", "profile", "provider", "create", "insecure", "account", "identity", "known_hosts",
}

// checkNames refuses a parameter that is likely to be one of ours, misspelled, or one of a replica's URL.
func checkNames(dsn string, q url.Values) error {
	for name := range q {
		if slices.Contains(theirParams, name) || slices.Contains(theirParams, strings.ToLower(name)) {
			continue
		}
		if slices.Contains(storeParams, name) && strings.Contains(dsn, "_replica=") {
			return fmt.Errorf("%w: %s is a parameter of the replica's URL, and stands among those of the database since its %q is not encoded; write %s",
				ErrDSN, name, "&", redactDSN(encodeReplica(dsn)))
		}
		if meant := nearest(name, ourParams()); meant != "" {
			return fmt.Errorf("%w: there is no parameter %s; %s is meant, probably: write %s",
				ErrDSN, name, meant, redactDSN(renameParam(dsn, name, meant)))
		}
	}
	return nil
}

// nearest is the one of names that a person may have meant by name: alike but for case, "-" for "_" or a missing underscore at
// the start, or not more than two typing errors away. "" when there is none.
func nearest(name string, names []string) string {
	plain := func(s string) string {
		return strings.Trim(strings.ReplaceAll(strings.ToLower(s), "-", "_"), "_")
	}
	for _, n := range names {
		if plain(n) == plain(name) {
			return n
		}
	}
	best, least := "", 3
	for _, n := range names {
		if d := typos(plain(name), plain(n)); d < least && d*3 < len(plain(n)) {
			best, least = n, d
		}
	}
	return best
}

// typos is how many letters have to be put in, left out, changed, or swapped with the next one to get from a to b.
func typos(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}

// renameParam is the DSN with another name for one of its parameters.
func renameParam(dsn, name, to string) string {
	base, rawQuery := splitDSN(dsn)
	parts := strings.Split(rawQuery, "&")
	for i, part := range parts {
		if _, value, _ := strings.Cut(part, "="); paramName(part) == name {
			parts[i] = to + "=" + value
		}
	}
	return joinDSN(base, strings.Join(parts, "&"))
}

// encodeReplica is the DSN with those parameters of the replica's URL that went astray put back into it, encoded.
func encodeReplica(dsn string) string {
	base, rawQuery := splitDSN(dsn)
	var parts []string
	last := -1 // of parts: the replica that came last
	for part := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name == "_replica":
			last = len(parts)
			if raw, err := url.QueryUnescape(value); err == nil {
				value = raw
			}
			parts = append(parts, name+"="+url.QueryEscape(value))
		case slices.Contains(storeParams, name) && last >= 0:
			sep := "&"
			if !strings.Contains(parts[last], url.QueryEscape("?")) {
				sep = "?"
			}
			parts[last] += url.QueryEscape(sep + part)
		default:
			parts = append(parts, part)
		}
	}
	return joinDSN(base, strings.Join(parts, "&"))
}

// redactDSN is a DSN as an error or a log may show it: without passwords, keys and what of a replica's URL proves who asks.
func redactDSN(dsn string) string {
	base, rawQuery := splitDSN(dsn)
	if rawQuery == "" {
		return base
	}
	parts := strings.Split(rawQuery, "&")
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		switch raw, err := url.QueryUnescape(value); {
		case name == "_replica" && err != nil:
			parts[i] = name + "=" + store.Redact(value)
		case name == "_replica":
			parts[i] = name + "=" + url.QueryEscape(store.Redact(raw))
		case store.IsSecretParam(name) || name == "_auth_user" || name == "sig":
			parts[i] = name + "=xxxxx"
		}
	}
	return joinDSN(base, strings.Join(parts, "&"))
}

// environmentBase is the base URL of all replicas that the environment names; "" for none.
func environmentBase() (string, error) {
	base, ok := os.LookupEnv(EnvReplica)
	switch {
	case ok && strings.TrimSpace(base) == "":
		return "", fmt.Errorf("%w: the environment has an empty %s, so nothing would be replicated; give it a URL, unset it, or set it to %q if that is meant",
			ErrConfig, EnvReplica, NoReplica)
	case ok:
		return base, nil
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if d := typos(name, EnvReplica); d > 0 && d <= 2 {
			return "", fmt.Errorf("%w: the environment has %s, which nothing reads; %s is meant, probably: rename or unset it", ErrConfig, name, EnvReplica)
		}
	}
	return "", nil
}

// isExcluded says whether a database is none of those that have a replica under a base: a copy that the application makes for itself, say.
func isExcluded(path string, patterns []string) (bool, error) {
	if more := os.Getenv(EnvExclude); more != "" {
		patterns = append(slices.Clone(patterns), strings.Split(more, ",")...)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return false, fmt.Errorf("%w: the folder of %s: %w", ErrConfig, path, err)
	}
	for _, pattern := range patterns {
		name := full
		if !strings.Contains(pattern, "/") {
			name = filepath.Base(full)
		}
		matched, err := filepath.Match(strings.TrimSpace(pattern), name)
		if err != nil {
			return false, fmt.Errorf("%w: the pattern %q of Exclude (%s) can't be understood; write one as in *.bak or /srv/*/cache.db", ErrConfig, pattern, EnvExclude)
		}
		if matched {
			return true, nil
		}
	}
	return false, nil
}

// replicaUnder is the URL of the replica of the database at path under a base: the base with the file's name after it, or, where
// the base has placeholders in braces, what these make of it.
func replicaUnder(base, path string) (string, error) {
	if !strings.ContainsAny(base, "{}") {
		return strings.TrimRight(base, "/") + "/" + url.PathEscape(filepath.Base(path)), nil
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%w: the folder of %s: %w", ErrConfig, path, err)
	}
	var parts []string
	for part := range strings.SplitSeq(strings.Trim(filepath.ToSlash(full), "/"), "/") {
		parts = append(parts, url.PathEscape(part))
	}
	dir := ""
	if len(parts) > 1 {
		dir = parts[len(parts)-2]
	}
	name := parts[len(parts)-1]
	out := strings.NewReplacer("{name}", name, "{dir}", dir, "{path}", strings.Join(parts, "/")).Replace(base)
	switch {
	case strings.ContainsAny(out, "{}"):
		return "", fmt.Errorf("%w: the replica %s has a placeholder that is not known; there are {name}, the file's name, {dir}, its folder's name, and {path}, the whole path",
			ErrConfig, store.Redact(base))
	case !strings.Contains(base, "{name}") && !strings.Contains(base, "{path}"):
		return "", fmt.Errorf("%w: the replica %s would be the same for each database of a folder; put {name} or {path} into it", ErrConfig, store.Redact(base))
	}
	return out, nil
}
