package segment

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	tests := []struct {
		got, want string
		name      Name
	}{
		{LogName(1, 42), "00000001/log/000000000000002a", Name{Log, 1, 0, 42, 0}},
		{LogName(0xffffffff, 1<<64-1), "ffffffff/log/ffffffffffffffff", Name{Log, 1<<32 - 1, 0, 1<<64 - 1, 0}},
		{MergedName(2, 3, 1, 256), "00000002/merged/3/0000000000000001-0000000000000100", Name{Merged, 2, 3, 1, 256}},
		{SnapshotName(1, 0), "00000001/snapshot/0000000000000000", Name{Snapshot, 1, 0, 0, 0}},
		{SnapshotName(1, 255), "00000001/snapshot/00000000000000ff", Name{Snapshot, 1, 0, 255, 255}},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
		if got, err := ParseName(test.want); err != nil || got != test.name {
			t.Errorf("ParseName(%q): %+v, %v, want %+v", test.want, got, err, test.name)
		}
	}
	fixed := []string{LogPrefix(1), MergedPrefix(1), SnapshotPrefix(1), TimelineName(1), ReplicaName}
	want := []string{"00000001/log/", "00000001/merged/", "00000001/snapshot/", "00000001/timeline.json", "replica.json"}
	if !slices.Equal(fixed, want) {
		t.Errorf("got %q, want %q", fixed, want)
	}
}

// notNames are seeds of FuzzName too.
var notNames = []string{
	"", "/", "replica.json", "00000001/timeline.json", "00000001/log/",
	"00000001/log/000000000000002a-000000000000002b", "00000001/log/2a",
	"00000001/log/000000000000002A",
	"00000001/log/0000000000000000",
	"00000000/log/0000000000000001",
	"1/log/0000000000000001",
	"00000001/merged/1/000000000000002b-000000000000002a",
	"00000001/merged/1/0000000000000000-000000000000002a",
	"00000001/merged/1/000000000000002a",
	"00000001/merged/0/0000000000000001-0000000000000001",
	"00000001/merged/10/0000000000000001-0000000000000001",
	"00000001/merged/+1/0000000000000001-0000000000000001",
	"00000001/snapshot/0000000000000001-0000000000000001",
	"00000001/snapshot/1", "00000001/other/0000000000000001",
	"00000001/log/0000000000000001/", "00000001/log/0000000000000001.tmp",
	"00000001/snapshot/_000000000000001", "00000001/log/+000000000000001",
}

func TestNotNames(t *testing.T) {
	for _, name := range notNames {
		if n, err := ParseName(name); !errors.Is(err, ErrName) {
			t.Errorf("ParseName(%q): %+v, %v", name, n, err)
		}
	}
	if s := (Name{}).String(); s == "" {
		t.Error("the zero Name has no String")
	}
}

func FuzzName(f *testing.F) {
	for _, name := range notNames {
		f.Add(name)
	}
	f.Add(LogName(1, 2))
	f.Add(MergedName(1, 2, 3, 4))
	f.Add(SnapshotName(1, 2))
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if !errors.Is(err, ErrName) || n != (Name{}) {
				t.Errorf("ParseName(%q): %+v, %v", s, n, err)
			}
			return
		}
		if n.String() != s {
			t.Errorf("ParseName(%q).String() is %q", s, n.String())
		}
	})
}

func TestID(t *testing.T) {
	id := NewID()
	if id.IsZero() || id == NewID() || !(ID{}).IsZero() {
		t.Errorf("NewID returned %v", id)
	}
	got, err := ParseID(id.String())
	if err != nil || got != id {
		t.Errorf("ParseID(%v): %v, %v", id, got, err)
	}
	text, err := json.Marshal(map[string]ID{"id": id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]ID
	if err := json.Unmarshal(text, &back); err != nil || back["id"] != id {
		t.Errorf("JSON %s: %v, %v", text, back, err)
	}
	for _, s := range []string{"", "00", id.String() + "0", "x" + id.String()[1:]} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) is accepted", s)
		}
	}
	if json.Unmarshal([]byte(`{"id":"zz"}`), &back) == nil {
		t.Error("a wrong id in JSON is accepted")
	}
}
