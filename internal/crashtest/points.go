package crashtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// pointCall is how a point is named in Go and in C.
var pointCall = regexp.MustCompile(`(?:killpoint\.Hit|SEAWAL_POINT)\("([^"]+)"\)`)

// findPoints returns the names of the points in the sources below root, in order.
func findPoints(root string) ([]string, error) {
	at := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (strings.HasPrefix(e.Name(), ".") && path != root || e.Name() == "killpoint"):
			return fs.SkipDir
		case e.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".c":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range pointCall.FindAllSubmatch(source, -1) {
			name := string(m[1])
			if other, ok := at[name]; ok {
				return fmt.Errorf("the point %s is in %s and in %s: a process could be killed at one of them only", name, other, path)
			}
			at[name] = path
		}
		return nil
	})
	if err == nil && len(at) == 0 {
		err = fmt.Errorf("no points below %s", root)
	}
	return slices.Sorted(maps.Keys(at)), err
}

// way leads to a point.
type way struct {
	recipe *recipe
	n      int           // arrivals that were seen in one process
	took   time.Duration // the recipe
}

// Points are the named points in the sources, and how to get to each.
type Points struct {
	Names []string
	tries int // histories in which a point is looked for

	surveyed sync.Once
	err      error            // of the survey
	ways     map[string][]way // by name, the quickest first
}

// FindPoints finds the points in the sources below root.
func FindPoints(root string) (*Points, error) {
	names, err := findPoints(root)
	return &Points{Names: names, tries: tries, ways: map[string][]way{}}, err
}

// surveys is how often the recipes are tried until all points have been seen.
const surveys = 4

// surveyAll runs every recipe to see to which points it leads. It fails if no recipe leads to one.
func (p *Points) surveyAll(ctx context.Context, exe, dir string) error {
	missing := p.Names
	for round := range surveys {
		for i := range recipes {
			if round > 0 && len(missing) == 0 {
				break
			}
			if err := p.survey(ctx, exe, dir, &recipes[i], uint64(round)); err != nil {
				return fmt.Errorf("looking where %q leads: %w", recipes[i].name, err)
			}
			missing = slices.DeleteFunc(slices.Clone(missing), func(n string) bool { return len(p.ways[n]) > 0 })
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no history gets to the points %v: recipes.go needs one that does", missing)
	}
	for _, ways := range p.ways {
		slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(a.took, b.took) })
	}
	return nil
}

// survey runs a recipe and notes where it leads.
func (p *Points) survey(ctx context.Context, exe, parent string, r *recipe, seed uint64) error {
	start := time.Now()
	dir, err := os.MkdirTemp(parent, "survey-")
	if err != nil {
		return err
	}
	h, err := newHistory(exe, dir, seed, 1, r.nature)
	if err != nil {
		return err
	}
	arrivals := filepath.Join(dir, "arrivals")
	if err := r.prepared(ctx, h); err != nil {
		return fmt.Errorf("%w (%s)", err, dir)
	}
	if _, err := r.target(ctx, h, end{survey: arrivals}); err != nil {
		return fmt.Errorf("%w (%s)", err, dir)
	}
	b, err := os.ReadFile(arrivals)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for line := range bytes.Lines(b) {
		seen[strings.TrimSuffix(string(line), "\n")]++
	}
	for name, n := range seen {
		p.ways[name] = append(p.ways[name], way{r, n, time.Since(start)})
	}
	return os.RemoveAll(dir)
}

// tries is how often a point is looked for in vain. The moments of a history depend on the machine.
const tries = 8

// quickest is how many of the ways to a point are taken, in turn: some take ten times as long as others.
const quickest = 3

// live kills a process at the point that the seed chooses: seeds that follow each other choose all of them.
func (p *Points) live(ctx context.Context, exe string, seed uint64, dir string) (Stats, error) {
	if p == nil {
		return Stats{}, errors.New("nobody has looked for points")
	}
	p.surveyed.Do(func() { p.err = p.surveyAll(ctx, exe, dir) })
	if p.err != nil {
		return Stats{}, p.err
	}
	name := p.Names[seed%uint64(len(p.Names))]
	r := rand.New(rand.NewPCG(seed, 2))
	var sum Stats
	for try := range p.tries {
		w := p.ways[name][r.IntN(min(quickest, len(p.ways[name])))]
		folder := filepath.Join(dir, fmt.Sprintf("try%d", try))
		if err := os.Mkdir(folder, 0o755); err != nil {
			return sum, err
		}
		e := end{point: name, n: 1}
		if try == 0 {
			e.n += r.IntN(w.n)
		}
		killed, s, err := w.recipe.kill(ctx, exe, folder, r.Uint64(), e)
		sum.Add(s)
		if err != nil {
			return sum, fmt.Errorf("killed at %s, arrival %d, in %q: %w", name, e.n, w.recipe.name, err)
		}
		if killed {
			return sum, nil
		}
	}
	return sum, fmt.Errorf("%d histories did not get to the point %s", p.tries, name)
}
