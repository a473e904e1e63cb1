package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, tt := range []struct {
		name, want string
		info       debug.BuildInfo
	}{
		{name: "a release", want: "v1.2.0 (go1.26)", info: debug.BuildInfo{Main: debug.Module{Path: "seawal", Version: "v1.2.0"}}},
		{name: "a checkout", want: "devel (0123456789ab, changed, go1.26)", info: debug.BuildInfo{
			Main:     debug.Module{Path: "seawal", Version: "(devel)"},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "true")},
		}},
		{name: "an application", want: "v1.1.0 (go1.26)", info: debug.BuildInfo{
			Main:     debug.Module{Path: "app", Version: "v9"},
			Deps:     []*debug.Module{{Path: "other", Version: "v3"}, {Path: "seawal", Version: "v1.1.0"}},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef")},
		}},
		{name: "an application with a checkout", want: "devel (go1.26)", info: debug.BuildInfo{
			Main: debug.Module{Path: "app"}, Deps: []*debug.Module{{Path: "seawal"}},
		}},
	} {
		tt.info.GoVersion = "go1.26"
		if got := of(&tt.info); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
