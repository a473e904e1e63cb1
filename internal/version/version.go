// Package version says which seawal a program was built from.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

const module = "seawal"

// String is the version of the module, with the revision that it was built from where the build knows it, and the
// Go version: "v1.2.0 (0123456789ab, go1.26.0)". A program that was built in a checkout has "devel" for the version.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown (" + runtime.Version() + ")"
	}
	return of(info)
}

func of(info *debug.BuildInfo) string {
	v := info.Main.Version
	if info.Main.Path != module {
		for _, dep := range info.Deps { // an application that imports us
			if dep.Path == module {
				v = dep.Version
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	revision := ""
	for _, s := range info.Settings {
		switch {
		case info.Main.Path != module: // the revision is the application's
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))] + revision
		case s.Key == "vcs.modified" && s.Value == "true":
			revision += ", changed"
		}
	}
	if revision != "" {
		revision += ", "
	}
	return fmt.Sprintf("%s (%s%s)", v, revision, info.GoVersion)
}
