package report

import (
	"io"

	"seawal/bench/internal/result"
)

// HTML writes the report.
func HTML(w io.Writer, f *result.File) error { return nil }
