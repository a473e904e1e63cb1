package arch

import (
	"fmt"
	"slices"
	"strings"
)

// module is the path of our own module.
const module = "seawal"

// pkg is what the rules ask of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	CgoFiles   []string
	Imports    []string // direct
	Deps       []string // all, transitively
	Module     *struct{ Path string }
}

// graph holds every package of the module and all that they need, by import path.
type graph map[string]pkg

// own lists our packages in order.
func (g graph) own() []string {
	var names []string
	for name := range g {
		if name == module || strings.HasPrefix(name, module+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// within says that the package name is root, given below the module, or lies below it.
func within(name, root string) bool {
	root = module + "/" + root
	return name == root || strings.HasPrefix(name, root+"/")
}

func withinAny(name string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(name, root) })
}

// A rule returns what goes against it.
type rule struct {
	name  string
	check func(graph) []string
}

var rules = []rule{
	{"packages the rules are about exist", ruledExist},
	{"vfs links no network code", noNetwork},
	{"no cgo where it must not be", noCgo},
	{"forbidden directions", directions},
	{"third-party code enters where it belongs", thirdParty},
}

// pure are the packages, with all below them, that need no cgo.
var pure = []string{
	"shipper", "restore", "compaction", "store", "cmd/restore", "cmd/seawal", "cmd/internal/cli",
	"internal/wal", "internal/segment", "internal/pagesum", "internal/replica", "internal/fsops",
}

// network are the standard packages that open connections, or bring those that
// do. net/netip and net/url are arithmetic on text; database/sql needs neither.
var network = []string{"net", "net/http", "net/rpc", "net/smtp", "crypto/tls", "log/syslog"}

// metrics is for applications that are monitored over a network anyway; vfs itself doesn't need it.
const metrics = "vfs/metrics"

// forbidden says which of our packages must not need which, however indirectly.
var forbidden = []struct{ from, to []string }{
	{[]string{"restore", "compaction", "cmd/restore", "cmd/seawal", "cmd/internal/cli"}, []string{"vfs", "shipper"}},
	{[]string{"shipper"}, []string{"vfs"}},
	{[]string{"store"}, []string{"vfs", "shipper", "restore", "internal"}},
	{[]string{"internal/wal", "internal/pagesum", "internal/segment"}, []string{"vfs", "shipper", "restore", "store", "internal/replica"}},
	{[]string{"internal/replica"}, []string{"vfs", "shipper", "restore"}},
	{[]string{"vfs", "shipper", "restore", "compaction"}, []string{"store/storetest", "store/faultstore", "store/gcs", "store/azure", "store/s3", "store/sftp", "internal/vfstest", "internal/powervfs", "internal/crashtest", "internal/testserver", "internal/reliability", "internal/fsops/powertest"}},
	{[]string{"internal/fsops"}, []string{"vfs", "shipper", "restore", "store", "internal"}},
}

// everywhere is what every package may need. It needs none of ours.
const everywhere = "internal/fsops"

// entry says where a module may be imported directly. Tests are free.
var entry = map[string][]string{
	"github.com/mattn/go-sqlite3":             {"vfs", "internal/vfstest", "internal/powervfs", "internal/crashtest", "bench", "cmd/demo"},
	"github.com/klauspost/compress":           {"internal/segment"},
	"github.com/zeebo/xxh3":                   {"internal/segment", "internal/pagesum", "internal/replica"},
	"github.com/spf13/cobra":                  {"cmd"},
	"github.com/schollz/progressbar/v3":       {"cmd", "bench"},
	"golang.org/x/sys":                        {"internal/fsops"},
	"golang.org/x/term":                       {"cmd", "bench"},
	"github.com/HdrHistogram/hdrhistogram-go": {"bench"},
	"github.com/prometheus/client_golang":     {metrics},
	"github.com/fsnotify/fsnotify":            {"shipper"},
	"github.com/psanford/sqlite3vfs":          {"bench"},
}

// notAStore are the packages in store/ that are no store of their own, and take
// nothing from others.
var notAStore = []string{"store/storetest", "store/faultstore"}

func ruledExist(g graph) (bad []string) {
	for _, name := range append([]string{"vfs"}, pure...) {
		if _, ok := g[module+"/"+name]; !ok {
			bad = append(bad, fmt.Sprintf("%s is not there: a rule names what was moved", name))
		}
	}
	return bad
}

func noNetwork(g graph) (bad []string) {
	for _, name := range g.own() {
		if !within(name, "vfs") || within(name, metrics) {
			continue
		}
		for _, dep := range g[name].Deps {
			if slices.Contains(network, dep) {
				bad = append(bad, fmt.Sprintf("%s needs %s: %s", name, dep, g.path(name, dep)))
			}
		}
	}
	return bad
}

func noCgo(g graph) (bad []string) {
	for _, name := range g.own() {
		if !withinAny(name, pure) {
			continue
		}
		for _, dep := range append([]string{name}, g[name].Deps...) {
			// The standard library does without cgo where it is not to be had.
			if p := g[dep]; !p.Standard && len(p.CgoFiles) > 0 {
				bad = append(bad, fmt.Sprintf("%s needs cgo of %s: %s", name, dep, g.path(name, dep)))
			}
		}
	}
	return bad
}

func directions(g graph) (bad []string) {
	for _, name := range g.own() {
		for _, f := range forbidden {
			if !withinAny(name, f.from) {
				continue
			}
			for _, dep := range g[name].Deps {
				if withinAny(dep, f.to) && dep != module+"/"+everywhere {
					bad = append(bad, fmt.Sprintf("%s must not need %s: %s", name, dep, g.path(name, dep)))
				}
			}
		}
	}
	return bad
}

func thirdParty(g graph) (bad []string) {
	for _, name := range g.own() {
		for _, dep := range g[name].Imports {
			p, ok := g[dep]
			if !ok || p.Standard || p.Module == nil || p.Module.Path == module {
				continue
			}
			if where, known := entry[p.Module.Path]; known && withinAny(name, where) {
				continue
			} else if !known && inCloudStore(name) {
				continue
			}
			bad = append(bad, fmt.Sprintf("%s must not import %s", name, dep))
		}
	}
	return bad
}

// inCloudStore says that name is store/<name> or below, and not part of the contract.
func inCloudStore(name string) bool {
	return strings.HasPrefix(name, module+"/store/") && !withinAny(name, notAStore)
}

// path is the shortest way from one package to another, for the message.
func (g graph) path(from, to string) string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			break
		}
		for _, next := range g[queue[0]].Imports {
			if _, seen := before[next]; !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	way := to
	for at := before[to]; at != ""; at = before[at] {
		way = at + " > " + way
	}
	return way
}
