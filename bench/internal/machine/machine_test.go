package machine

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	m, err := Describe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if m.FsyncP50 <= 0 || m.FsyncP99 < m.FsyncP50 {
		t.Errorf("fsync p50 %v, p99 %v", m.FsyncP50, m.FsyncP99)
	}
	if m.Go == "" || m.CPUs < 1 {
		t.Errorf("%+v", m)
	}
	if runtime.GOOS == "linux" && (m.Memory < 64<<20 || m.FileSystem == "") {
		t.Errorf("memory %d, file system %q", m.Memory, m.FileSystem)
	}
}

func TestDescribeNamesTheFolder(t *testing.T) {
	if _, err := Describe("/no/such/folder"); err == nil {
		t.Error("a folder that is not there was measured")
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	before := Self()
	for n, limit := 0, time.Now().Add(time.Minute); Self().Sub(before).User < 30*time.Millisecond; n++ {
		if time.Now().After(limit) {
			t.Fatal("no processor time after a minute of work")
		}
	}
	u, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if diff := (u.User + u.System - Self().User - Self().System).Abs(); diff > 200*time.Millisecond {
		t.Errorf("/proc says %v, getrusage %v", u, Self())
	}
	if m := MemoryOf(0); m.Anon < 1<<20 || m.PeakRSS < m.Anon/2 {
		t.Errorf("memory %+v", m)
	}
	if _, err := Of(1 << 30); err == nil {
		t.Error("a process that is not there has a usage")
	}
}
