package report

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"seawal/internal/testserver"
)

// browser is a headless Chromium with one page. It is driven over two pipes in its DevTools protocol: JSON, with a
// zero byte behind each message. Not safe for concurrent use.
type browser struct {
	t       *testing.T
	cmd     *exec.Cmd
	to      *os.File
	from    *bufio.Reader
	session string    // of the page
	calls   int       // made so far; the last one's number
	events  []message // that came meanwhile
}

// message is a command, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// browserPatience is for everything together, on a machine that is busy with other tests.
const browserPatience = 5 * time.Minute

// startBrowser skips the test, or fails it, where Chromium is not installed.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := testserver.Find(t, "chromium")
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	theirIn, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, to: to, from: bufio.NewReader(from)}
	b.cmd = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4 there
	b.cmd.Env = append(os.Environ(), "HOME="+profile)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	theirIn.Close()
	theirOut.Close()
	// Its children end with it, and with them the pipe that a call waits for.
	kill := func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }
	late := time.AfterFunc(browserPatience, kill)
	t.Cleanup(func() {
		late.Stop()
		kill()
		_ = b.cmd.Wait() // killed
		to.Close()
		from.Close()
		_ = os.RemoveAll(profile) // a child that is still dying may write there
	})
	b.attach()
	return b
}

// attach opens the page that is looked at.
func (b *browser) attach() {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
}

// call sends a command and waits for its answer.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.calls++
	m := message{ID: b.calls, Session: b.session, Method: method}
	if params != nil {
		var err error
		if m.Params, err = json.Marshal(params); err != nil {
			b.t.Fatal(err)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: the browser is gone: %v", method, err)
	}
	for {
		answer := b.read()
		if answer.ID != b.calls {
			b.events = append(b.events, answer)
			continue
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatalf("%s answers %s: %v", method, answer.Result, err)
			}
		}
		return
	}
}

func (b *browser) read() message {
	b.t.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser is gone (it has %v): %v", browserPatience, err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatalf("the browser says %q: %v", text, err)
	}
	return m
}

// open goes to a page, and returns once all that belongs to it is loaded.
func (b *browser) open(url string) {
	b.t.Helper()
	b.events = nil
	var answer struct{ ErrorText string }
	b.call("Page.navigate", map[string]any{"url": url}, &answer)
	if answer.ErrorText != "" {
		b.t.Fatalf("opening %s: %s", url, answer.ErrorText)
	}
	for {
		for _, e := range b.events {
			if e.Method == "Page.loadEventFired" {
				return
			}
		}
		b.events = append(b.events, b.read())
	}
}

// look makes the page as wide as that, in one of the colour schemes "light" and "dark".
func (b *browser) look(scheme string, width int) {
	b.t.Helper()
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// evaluate runs JavaScript in the page and decodes its value.
func (b *browser) evaluate(js string, value any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		b.t.Fatalf("a look at the page failed: %s", answer.ExceptionDetails)
	}
	if err := json.Unmarshal(answer.Result.Value, value); err != nil {
		b.t.Fatalf("a look at the page gave %s: %v", answer.Result.Value, err)
	}
}

// heard returns what the page asked the network for, itself aside, and what stands on its console.
func (b *browser) heard(page string) (requests, console []string) {
	b.t.Helper()
	for _, e := range b.events {
		switch e.Method {
		case "Network.requestWillBeSent":
			var r struct{ Request struct{ URL string } }
			if err := json.Unmarshal(e.Params, &r); err != nil {
				b.t.Fatal(err)
			}
			if r.Request.URL != page {
				requests = append(requests, r.Request.URL)
			}
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			console = append(console, string(e.Params))
		}
	}
	return requests, console
}

// screenshot writes a picture of the whole page.
func (b *browser) screenshot(path string) {
	b.t.Helper()
	var answer struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &answer)
	picture, err := base64.StdEncoding.DecodeString(answer.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
