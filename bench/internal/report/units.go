package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// missing is shown where nothing was measured.
const missing = "–"

// number is x with three significant digits and thin grouping of thousands.
func number(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return missing
	}
	if math.Abs(x) < 1000 {
		return strconv.FormatFloat(significant(x), 'f', -1, 64)
	}
	s := strconv.FormatFloat(math.Abs(significant(x)), 'f', 0, 64)
	var b strings.Builder
	if x < 0 {
		b.WriteByte('-')
	}
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// significant rounds to three digits.
func significant(x float64) float64 {
	if x == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(x)))-2)
	// Dividing by the inverse keeps 0.123 from becoming 0.12300000000000001.
	if unit < 1 {
		inverse := math.Round(1 / unit)
		return math.Round(x*inverse) / inverse
	}
	return math.Round(x/unit) * unit
}

// seconds is a duration in the unit that suits it; 0 stands for nothing measured.
func seconds(s float64) string {
	switch {
	case math.IsNaN(s) || s == 0:
		return missing
	case math.Abs(s) < 1e-3:
		return number(s*1e6) + " µs"
	case math.Abs(s) < 1:
		return number(s*1e3) + " ms"
	}
	return number(s) + " s"
}

// size is bytes in the binary unit that suits them.
func size(b float64) string {
	switch a := math.Abs(b); {
	case math.IsNaN(b):
		return missing
	case a < 1<<10:
		return number(b) + " B"
	case a < 1<<20:
		return number(b/(1<<10)) + " KiB"
	case a < 1<<30:
		return number(b/(1<<20)) + " MiB"
	}
	return number(b/(1<<30)) + " GiB"
}

// times is a ratio.
func times(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return missing
	}
	if x >= 100 {
		return number(x) + "x"
	}
	return fmt.Sprintf("%.2fx", x)
}
