package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"seawal/store"
)

// Printer writes what a command has to say.
type Printer struct {
	Command string    // begins each line of errors
	Out     io.Writer // results
	Err     io.Writer // progress, warnings, errors
}

// JSON writes a result as JSON.
func (p *Printer) JSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if _, err := io.WriteString(p.Out, printable(b.String(), jsonEscape)); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Text writes a result for people.
func (p *Printer) Text(text string) error {
	if _, err := io.WriteString(p.Out, printable(text, textEscape)); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Complain writes a line to the errors.
func (p *Printer) Complain(format string, args ...any) {
	fmt.Fprintln(p.Err, p.Command+":", printable(fmt.Sprintf(format, args...), textEscape))
}

// Failure writes an error as JSON: {"error": f}.
func (p *Printer) Failure(f any) {
	if err := p.JSON(struct {
		Error any `json:"error"`
	}{f}); err != nil {
		p.Complain("%v", err)
	}
}

// TryingAgain tells of a request that failed and is repeated.
func (p *Printer) TryingAgain(f store.Failure) {
	p.Complain("%s %s: %v; trying again", f.Op, f.Name, f.Err)
}

// Word is text from the replica in the middle of a line.
func Word(text string) string {
	return strings.ReplaceAll(printable(text, textEscape), "\n", `\n`)
}

// printable returns text as a terminal may have it. Names and reasons come from the replica, and from a store's answers: whoever writes there
// must not move the cursor, turn what follows around or change the title of a window. Line ends stay.
func printable(text string, escape func(r rune, raw string) string) string {
	var b strings.Builder
	for i, n := 0, 0; i < len(text); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(text[i:])
		if r == '\n' || strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(text[i : i+n])
		} else {
			b.WriteString(escape(r, text[i:i+n]))
		}
	}
	return b.String()
}

// textEscape writes a character as Go would in a string: \x1b, \u202e.
func textEscape(_ rune, raw string) string { return strings.Trim(strconv.QuoteToASCII(raw), `"`) }

// jsonEscape writes a character of a JSON string, in which those below 0x20 are escaped already.
func jsonEscape(r rune, _ string) string {
	if a, b := utf16.EncodeRune(r); a != utf8.RuneError {
		return fmt.Sprintf(`\u%04x\u%04x`, a, b)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.3g %cB", v, units[i])
}
