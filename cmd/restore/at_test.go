package main

import (
	"testing"
	"time"
)

func TestParseAt(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, zone)
	table := []struct {
		text string
		want time.Time // zero: an error
	}{
		{"2026-03-04T05:06:07Z", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		{"2026-03-04T05:06:07.123456789Z", time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)},
		{"2026-03-04T05:06:07-05:00", time.Date(2026, 3, 4, 10, 6, 7, 0, time.UTC)},
		{"2026-03-04 05:06:07", time.Date(2026, 3, 4, 5, 6, 7, 0, zone)},
		{"2026-03-04 05:06:07.5", time.Date(2026, 3, 4, 5, 6, 7, 5e8, zone)},
		{"2026-03-04T05:06:07", time.Date(2026, 3, 4, 5, 6, 7, 0, zone)},
		{"2026-03-04 05:06", time.Date(2026, 3, 4, 5, 6, 0, 0, zone)},
		{"2026-03-04", time.Date(2026, 3, 4, 0, 0, 0, 0, zone)},
		{"15m", now.Add(-15 * time.Minute)},
		{"1h30m", now.Add(-90 * time.Minute)},
		{"3d", now.AddDate(0, 0, -3)},
		{"0s", now},
		{"", time.Time{}},
		{"-15m", time.Time{}},
		{"-2d", time.Time{}},
		{"15", time.Time{}},
		{"99999d", time.Time{}},
		{"2026-13-01", time.Time{}},
		{"05:06", time.Time{}},
		{"now", time.Time{}},
	}
	for _, c := range table {
		got, err := parseAt(c.text, now)
		if (err != nil) != c.want.IsZero() || !got.Equal(c.want) {
			t.Errorf("%q: %v, error %v, want %v", c.text, got, err, c.want)
		}
	}
}
