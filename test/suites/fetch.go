package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The source is what Debian packages of SQLite's own archive: the whole tree, tests included, unchanged. A newer version
// is taken by changing these three together, and test/suites/expected.txt with what it shows.
const (
	sourceVersion = "3.53.4"
	sourceFile    = "sqlite3_3.53.4.orig.tar.xz"
	sourceSHA256  = "05366adc8ee80c6b1faa71285b49d133c2121238ca58934b077fdeb95934abd4"
)

// sourceSuites are the distributions of Debian that may have it, the newest first.
var sourceSuites = []string{"sid", "forky"}

// errNoSource means that the source can't be had here. It is no verdict on anything.
var errNoSource = errors.New("SQLite's source, or Tcl, can't be had here")

// fetch puts SQLite's source into work and returns its folder. What is there already stays.
func fetch(work string) (string, error) {
	dir := filepath.Join(work, "sqlite3-"+sourceVersion)
	if _, err := os.Stat(filepath.Join(dir, "patched")); err == nil {
		return dir, nil
	}
	archive := filepath.Join(work, sourceFile)
	if err := checkSource(archive); err != nil {
		if err := download(work); err != nil {
			return "", fmt.Errorf("%w: %w", errNoSource, err)
		}
		if err := checkSource(archive); err != nil {
			return "", fmt.Errorf("%w: %w", errNoSource, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := command(work, "tar", "-xJf", sourceFile); err != nil {
		return "", fmt.Errorf("unpack SQLite's source: %w", err)
	}
	if err := patch(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "patched"), nil, 0o644)
}

// installTcl installs Tcl with its headers, where it is missing and this may be done. Its error is errNoSource, too.
func installTcl() error {
	_, missing := tclConfig()
	if missing == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("%w: %w", errNoSource, missing)
	}
	err := command("/", "apt-get", "update", "-q")
	if err == nil {
		err = command("/", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qy", "--no-install-recommends", "tcl", "tcl-dev")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoSource, err)
	}
	return nil
}

// checkSource compares the archive with its checksum.
func checkSource(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != sourceSHA256 {
		return fmt.Errorf("%s has the SHA-256 %s, not %s", name, got, sourceSHA256)
	}
	return nil
}

// download asks apt for the source package, with lists, cache and sources of its own: those of the machine stay as they
// are.
func download(work string) error {
	dir := filepath.Join(work, "apt")
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	signedBy := ""
	if _, err := os.Stat(keyring); err == nil {
		signedBy = "[signed-by=" + keyring + "] "
	}
	var lines strings.Builder
	for _, suite := range sourceSuites {
		fmt.Fprintf(&lines, "deb-src %s%s %s main\n", signedBy, mirror(), suite)
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(lines.String()), 0o644); err != nil {
		return err
	}
	options := []string{
		"-qq", "-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + dir,
		"-o", "Dir::Cache::archives=" + filepath.Join(dir, "archives"), "-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "APT::Update::Error-Mode=any",
	}
	if err := command(work, "apt-get", append(options, "update")...); err != nil {
		return fmt.Errorf("ask Debian's archive for its source packages: %w", err)
	}
	packages, err := output(work, "apt-cache", append(options, "--only-source", "showsrc", "sqlite3")...)
	if err != nil {
		return err
	}
	version := packageOf(packages)
	if version == "" {
		return fmt.Errorf("no source package in %s has SQLite %s (a newer one is taken by changing the version and its "+
			"checksum in test/suites/fetch.go)", strings.Join(sourceSuites, " or "), sourceVersion)
	}
	if err := command(work, "apt-get", append(options, "source", "--download-only", "sqlite3="+version)...); err != nil {
		return fmt.Errorf("download the source package sqlite3 %s: %w", version, err)
	}
	return os.RemoveAll(dir)
}

// packageOf finds the source package with our archive among those that apt-cache shows, and returns its version.
func packageOf(shown string) string {
	for record := range strings.SplitSeq(shown, "\n\n") {
		if !strings.Contains(record, " "+sourceSHA256+" ") {
			continue
		}
		for line := range strings.Lines(record) {
			if version, ok := strings.CutPrefix(line, "Version: "); ok {
				return strings.TrimSpace(version)
			}
		}
	}
	return ""
}

var debianURL = regexp.MustCompile(`https?://[^\s]+/debian/?(?:\s|$)`)

// mirror is the mirror of Debian that the machine uses itself.
func mirror() string {
	names, _ := filepath.Glob("/etc/apt/sources.list.d/*") // the pattern is a good one
	for _, name := range append(names, "/etc/apt/sources.list") {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
				continue
			}
			if url := debianURL.FindString(line); url != "" {
				return strings.TrimSpace(url)
			}
		}
	}
	return "http://deb.debian.org/debian"
}

// command runs a command in a folder. Its error has what the command said.
func command(dir, name string, args ...string) error {
	_, err := output(dir, name, args...)
	return err
}

// output is command for one whose standard output is wanted.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", name, err, &stdout, &stderr)
	}
	return stdout.String(), nil
}
