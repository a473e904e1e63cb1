package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// localFormats are moments without an offset: local time. Go reads fractions of a second though
// they aren't in the format.
var localFormats = []string{
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04",
	"2006-01-02",
}

// parseAt reads a moment: RFC 3339, one of localFormats in now's time zone, or
// a duration back from now.
func parseAt(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, format := range localFormats {
		if t, err := time.ParseInLocation(format, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if d, err := parseBack(s); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%q lies in the future: a duration counts back from now", s)
		}
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("can't read %q: want 2006-01-02T15:04:05Z, \"2006-01-02 15:04:05\" (local time), 2006-01-02, or a duration back from now such as 15m, 2h or 3d", s)
}

// parseBack is time.ParseDuration that also knows whole days.
func parseBack(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 16) // 90 years: far from overflow
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}
