package replica

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

func put(t *testing.T, s store.Store, name, content string) {
	t.Helper()
	check(t, s.Delete(context.Background(), name))
	check(t, s.Create(context.Background(), name, store.BytesBody([]byte(content))))
}

func someReplica() Replica {
	return Replica{ID: segment.NewID(), PageSize: 4096, Created: time.Now(), Name: "app.db", Key: pagesum.NewKey()}
}

func TestReplicaComesBack(t *testing.T) {
	s, ctx := storetest.NewMemory(), context.Background()
	if _, err := ReadReplica(ctx, s); !errors.Is(err, store.ErrNotExist) || !strings.Contains(err.Error(), "replica.json") {
		t.Errorf("no replica: %v", err)
	}
	want := someReplica()
	check(t, CreateReplica(ctx, s, want))
	check(t, CreateReplica(ctx, s, want)) // again, as after an unknown outcome
	got, err := ReadReplica(ctx, s)
	check(t, err)
	want.Format, want.Created = FormatKeyed, want.Created.UTC().Round(0)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := CreateReplica(ctx, s, someReplica()); !errors.Is(err, store.ErrExist) {
		t.Errorf("another replica: %v", err)
	}
}

// Documents from before there was a checksum are read as they are, and nothing is said of them.
func TestDocumentsWithoutChecksum(t *testing.T) {
	s, ctx := storetest.NewMemory(), context.Background()
	put(t, s, segment.ReplicaName, `{
  "format": 1,
  "id": "1ac8ab171e95da4fc9cd78c6e2f20dbd",
  "page_size": 4096,
  "created": "2026-01-02T03:04:05Z",
  "name": "app.db"
}
`)
	put(t, s, segment.TimelineName(1), `{
  "format": 1,
  "timeline": 1,
  "parent": 0,
  "parent_tx": 0,
  "page_size": 4096,
  "reason": "first snapshot",
  "writer": "2ac8ab171e95da4fc9cd78c6e2f20dbd",
  "created": "2026-01-02T03:04:05Z"
}
`)
	r, err := ReadReplica(ctx, s)
	if err != nil || r.Damage != nil || r.ID.String() != "1ac8ab171e95da4fc9cd78c6e2f20dbd" || r.Name != "app.db" {
		t.Errorf("%+v, %v", r, err)
	}
	all, err := Timelines(ctx, s)
	if err != nil || len(all) != 1 || all[0].Damage != nil || all[0].Reason != "first snapshot" || all[0].Writer.String() != "2ac8ab171e95da4fc9cd78c6e2f20dbd" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTimelineComesBack(t *testing.T) {
	s, ctx := storetest.NewMemory(), context.Background()
	want := Timeline{Timeline: 2, Parent: 1, ParentTx: 42, Reason: "failover", Writer: segment.NewID(), Created: time.Now()}
	check(t, CreateTimeline(ctx, s, want))
	check(t, CreateTimeline(ctx, s, want))
	got, err := ReadTimeline(ctx, s, 2)
	check(t, err)
	want.Format, want.Created = Format, want.Created.UTC().Round(0)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	other := want
	other.Writer = segment.NewID()
	if err := CreateTimeline(ctx, s, other); !errors.Is(err, store.ErrExist) {
		t.Errorf("another writer: %v", err)
	}
	if _, err := ReadTimeline(ctx, s, 3); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("no timeline: %v", err)
	}
}

func TestLostAcknowledgementIsNoOtherWriter(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("connection reset")
	f := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{},
		faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.OnIndex(0)), faultstore.LostAck(broken)))
	r := someReplica()
	if err := CreateReplica(ctx, f, r); !errors.Is(err, broken) {
		t.Fatalf("lost acknowledgement: %v", err)
	}
	check(t, CreateReplica(ctx, f, r))
}

func TestTakenNameThatCannotBeRead(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("connection reset")
	f := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{}, faultstore.When(faultstore.OnOp(store.OpRead), faultstore.Fail(broken)))
	check(t, CreateReplica(ctx, f, someReplica()))
	if err := CreateReplica(ctx, f, someReplica()); !errors.Is(err, broken) || errors.Is(err, store.ErrExist) {
		t.Errorf("got %v: whose it is, is unknown", err)
	}
}

func TestBadDocuments(t *testing.T) {
	id := segment.NewID().String()
	for _, tc := range []struct{ name, content, want string }{
		{"replica.json", ``, "replica.json is corrupt: unexpected end of JSON input"},
		{"replica.json", `{"format":1,"id":"` + id + `"`, "replica.json is corrupt: unexpected end of JSON input"},
		{"replica.json", `[]`, "replica.json is corrupt: "},
		{"replica.json", `{"format":"1"}`, "replica.json is corrupt: "},
		{"replica.json", `{}`, "replica.json is corrupt: format version is 0"},
		{"replica.json", `{"format":-1}`, "replica.json is corrupt: format version is -1"},
		{"replica.json", `{"format":3,"id":7}`, "replica.json was written by a newer seawal: it has format version 3, this one reads up to 2"},
		{"replica.json", `{"format":1,"id":"xyz","page_size":4096}`, "replica.json is corrupt: "},
		{"replica.json", `{"format":2,"id":"` + id + `","page_size":4096}`, "replica.json is corrupt: format version is 2, with no key"},
		{"replica.json", `{"format":1,"id":"` + id + `","page_size":4096,"page_key":"0000000000000001"}`, "replica.json is corrupt: format version is 1, with a key"},
		{"replica.json", `{"format":2,"id":"` + id + `","page_size":4096,"page_key":"1"}`, "replica.json is corrupt: "},
		{"00000002/timeline.json", `{"format":2}`, "00000002/timeline.json was written by a newer seawal: it has format version 2, this one reads up to 1"},
		{"replica.json", `{"format":1,"page_size":4096}`, "replica.json is corrupt: no id"},
		{"replica.json", `{"format":1,"id":"` + id + `","page_size":1000}`, "replica.json is corrupt: page size is 1000"},
		{"replica.json", `{"format":1,"id":"` + id + `"}`, "replica.json is corrupt: page size is 0"},
		{"replica.json", `{"format":1,"id":"` + id + `","page_size":512}x`, "replica.json is corrupt: "},
		{"replica.json", strings.Repeat(" ", maxDocument+1), "replica.json is corrupt: more than 65536 bytes"},
		{"00000002/timeline.json", `{"format":1}`, "00000002/timeline.json is corrupt: timeline 0"},
		{"00000002/timeline.json", `{"format":3}`, "00000002/timeline.json was written by a newer seawal: it has format version 3, this one reads up to 1"},
		{"00000002/timeline.json", `{"format":1,"timeline":3,"parent":1,"writer":"` + id + `"}`, "00000002/timeline.json is corrupt: says that it is of timeline 3"},
		{"00000002/timeline.json", `{"format":1,"timeline":2,"parent":2,"writer":"` + id + `"}`, "00000002/timeline.json is corrupt: parent 2 of timeline 2"},
		{"00000002/timeline.json", `{"format":1,"timeline":2,"parent_tx":2,"writer":"` + id + `"}`, "00000002/timeline.json is corrupt: leaves no timeline at transaction 2"},
		{"00000002/timeline.json", `{"format":1,"timeline":2,"parent":1,"page_size":1000,"writer":"` + id + `"}`, "00000002/timeline.json is corrupt: page size is 1000"},
		{"00000002/timeline.json", `{"format":1,"timeline":2,"parent":1}`, "00000002/timeline.json is corrupt: no writer"},
	} {
		s, ctx := storetest.NewMemory(), context.Background()
		put(t, s, tc.name, tc.content)
		var err error
		if tc.name == segment.ReplicaName {
			_, err = ReadReplica(ctx, s)
		} else {
			_, err = ReadTimeline(ctx, s, 2)
		}
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", tc.content[:min(len(tc.content), 60)], err, tc.want)
			continue
		}
		var corrupt *CorruptError
		var version *VersionError
		if !errors.As(err, &corrupt) && !errors.As(err, &version) {
			t.Errorf("%s: %T", tc.content, err)
		}
	}
}

func TestCreateRefusesWhatReadWould(t *testing.T) {
	s, ctx := storetest.NewMemory(), context.Background()
	if err := CreateReplica(ctx, s, Replica{ID: segment.NewID()}); err == nil {
		t.Error("replica without a page size")
	}
	if err := CreateTimeline(ctx, s, Timeline{Timeline: 1, Parent: 1, Writer: segment.NewID()}); err == nil {
		t.Error("timeline that is its own parent")
	}
	for o := range s.List(ctx, "", "") {
		t.Errorf("created %s", o.Name)
	}
}

func TestPageSizeAt(t *testing.T) {
	r := Replica{PageSize: 512}
	all := []Timeline{
		{Timeline: 1},
		{Timeline: 2, Parent: 1, ParentTx: 10, PageSize: 4096},
		{Timeline: 3, Parent: 2, ParentTx: 20},                 // as its parent
		{Timeline: 4, Parent: 2, ParentTx: 5},                  // leaves timeline 2 before that had a transaction
		{Timeline: 5, Parent: 3, ParentTx: 12, PageSize: 1024}, // of what timeline 2 has
		{Timeline: 7, PageSize: 2048},                          // a root of its own
	}
	for pos, want := range map[Pos]int{
		{1, 1}: 512, {1, 11}: 512, {2, 10}: 512, {2, 11}: 4096, {3, 10}: 512, {3, 11}: 4096, {3, 21}: 4096,
		{4, 5}: 512, {4, 6}: 512, {5, 12}: 4096, {5, 10}: 512, {5, 13}: 1024, {7, 1}: 2048, {9, 1}: 512,
	} {
		if got := PageSizeAt(r, all, pos); got != want {
			t.Errorf("%v has pages of %d bytes, want %d", pos, got, want)
		}
	}
	for pos, want := range map[Pos]Pos{
		{1, 1}: {1, 1}, {2, 10}: {1, 10}, {2, 11}: {2, 11}, {3, 10}: {1, 10}, {3, 20}: {2, 20}, {3, 21}: {3, 21}, {4, 5}: {1, 5}, {5, 12}: {2, 12}, {7, 0}: {7, 0}, {9, 1}: {9, 1},
	} {
		if got := PointOf(all, pos); got != want {
			t.Errorf("%v is %v, want %v", pos, got, want)
		}
	}
}

func TestTimelines(t *testing.T) {
	src, ctx := newSource(t), context.Background()
	numbers := func() []uint32 {
		t.Helper()
		all, err := Timelines(ctx, src.s)
		check(t, err)
		n := []uint32{}
		for _, tl := range all {
			n = append(n, tl.Timeline)
		}
		return n
	}
	src.log(3, 1)
	put(t, src.s, "0-a-stranger", "")
	put(t, src.s, "00000001", "not a folder")
	put(t, src.s, "ab/def", "")
	put(t, src.s, "abc/def", "")
	check(t, CreateReplica(ctx, src.s, someReplica()))
	if d := cmp.Diff([]uint32{1}, numbers()); d != "" {
		t.Error(d)
	}
	src.open(Timeline{Timeline: 2, Parent: 1, ParentTx: 3})
	src.open(Timeline{Timeline: 3, Parent: 1, ParentTx: 3})
	src.open(Timeline{Timeline: 0xfffffffe, Parent: 1, ParentTx: 3})
	src.open(Timeline{Timeline: 0xffffffff, Parent: 1, ParentTx: 3})
	src.open(Timeline{Timeline: 0xab, Parent: 1, ParentTx: 3})
	if d := cmp.Diff([]uint32{1, 2, 3, 0xab, 0xfffffffe, 0xffffffff}, numbers()); d != "" {
		t.Error(d)
	}
	check(t, src.s.Delete(ctx, segment.TimelineName(1))) // its log is still there
	if d := cmp.Diff([]uint32{1, 2, 3, 0xab, 0xfffffffe, 0xffffffff}, numbers()); d != "" {
		t.Error(d)
	}
	if got, err := Timelines(ctx, storetest.NewMemory()); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

func TestTimelinesCost(t *testing.T) {
	src := branched(t)
	var counts store.Counts
	all, err := Timelines(context.Background(), store.Count(src.s, &counts))
	if u := counts.Usage(); err != nil || len(all) != 3 || u.List.Requests != 1 || u.Read.Requests != 4 {
		t.Errorf("%d timelines, %v: %+v", len(all), err, u)
	}
}

// A timeline that is opened between the read and the list is found, also when its first segment came with it: its timeline.json is not gone.
func TestTimelineOpenedMeanwhile(t *testing.T) {
	src := branched(t)
	for range 2 {
		f := faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(
			faultstore.And(faultstore.OnOp(store.OpRead), faultstore.NameMatch("00000003/*"), faultstore.OnIndex(0)), faultstore.Fail(store.ErrNotExist)))
		if all, err := Timelines(context.Background(), f); err != nil || len(all) != 3 || all[2].Damage != nil {
			t.Errorf("%d timelines, %v: %+v", len(all), err, all)
		}
		check(t, src.s.Delete(context.Background(), segment.LogName(3, 41)))
	}
}

func TestPos(t *testing.T) {
	for _, p := range []Pos{{}, {1, 42}, {1<<32 - 1, 1<<64 - 1}} {
		got, err := ParsePos(p.String())
		if err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
		b, err := json.Marshal(map[string]Pos{"at": p})
		check(t, err)
		if want := `{"at":"` + p.String() + `"}`; string(b) != want {
			t.Errorf("JSON is %s, want %s", b, want)
		}
		var back map[string]Pos
		check(t, json.Unmarshal(b, &back))
		if back["at"] != p {
			t.Errorf("JSON %s gives %v", b, back)
		}
	}
	for _, s := range []string{"", "1", "/", "1/", "/1", "1/2/3", "-1/2", "1/-2", " 1/2", "x/2", "4294967296/1", "1/18446744073709551616", "0x1/2"} {
		if p, err := ParsePos(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
		if err := new(Pos).UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q as text", s)
		}
	}
	ascending := []Pos{{}, {1, 0}, {1, 1}, {1, 100}, {2, 1}, {2, 2}}
	for i, p := range ascending {
		for j, q := range ascending {
			if got := p.Compare(q); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v.Compare(%v) = %d", p, q, got)
			}
		}
	}
}
