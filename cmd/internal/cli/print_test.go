package cli

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode ☃\nsecond line": "plain, ünïcode ☃\nsecond line",
		"\x1b[2J\x1b]0;title\a":         `\x1b[2J\x1b]0;title\a`,
		"csi \u009b2J":                  `csi \u009b2J`,
		"turned \u202e around":          `turned \u202e around`,
		"back\rover":                    `back\rover`,
		"not UTF-8 \xff\xc3(":           `not UTF-8 \xff\xc3(`,
		"\ufffd":                        "\ufffd",
		"tag \U000e0041":                `tag \U000e0041`,
	} {
		if got := printable(in, textEscape); got != want {
			t.Errorf("%q is printed as %q, want %q", in, got, want)
		}
	}
	if got := Word("a\nb"); got != `a\nb` {
		t.Errorf("a word of two lines is printed as %q", got)
	}
}
