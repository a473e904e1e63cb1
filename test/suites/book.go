package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readBook reads what vfs/everyfile.go has noted of the replicas of a file's databases. The name of a difference is that
// of the database after "restore:".
func readBook(file, dir string) (same int, diff []difference, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "book"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil // no database was replicated
	}
	if err != nil {
		return 0, nil, err
	}
	for line := range strings.Lines(string(text)) {
		var c struct{ Path, Outcome, Reason string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return 0, nil, fmt.Errorf("%s: %q: %w", dir, line, err)
		}
		switch c.Outcome {
		case "same":
			same++
		case "gone", "empty", "no database":
		default:
			diff = append(diff, difference{file, "restore:" + filepath.Base(c.Path), c.Outcome + ": " + c.Reason})
		}
	}
	return same, diff, nil
}
