package metrics_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"seawal/vfs"
	"seawal/vfs/metrics"
)

// The figures are those of Status, for each database and each of its replicas.
func TestCollector(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector())
	dir := t.TempDir()
	replicas := []string{"file://" + dir + "/a", "file://" + dir + "/b"}
	for name, params := range map[string]string{
		"one.db": "_replica=file://" + dir + "/one",
		"two.db": "_replica=" + replicas[0] + "&_replica=" + replicas[1],
	} {
		db, err := sql.Open("seawal", "file:"+filepath.Join(dir, name)+"?_journal_mode=WAL&"+params)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		for _, statement := range []string{"CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := vfs.Flush(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	want := map[string]map[string]float64{} // name, then labels
	for _, st := range vfs.Databases() {
		all := st.Replicas
		if all == nil {
			all = []vfs.ReplicaStat{st.ReplicaStat}
		}
		for _, r := range all {
			for name, v := range map[string]float64{
				"seawal_up": 1, "seawal_lag_transactions": 0,
				"seawal_durable_transaction": float64(r.Durable.Tx), "seawal_segments_total": float64(r.Segments),
			} {
				if want[name] == nil {
					want[name] = map[string]float64{}
				}
				want[name][st.Database+" "+r.Replica] = v
			}
		}
	}
	if len(want["seawal_up"]) != 3 {
		t.Fatalf("there are 3 replicas of 2 databases, not %v", want["seawal_up"])
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := m.GetLabel()[0].GetValue()
			if len(m.GetLabel()) > 1 {
				key += " " + m.GetLabel()[1].GetValue()
			}
			if v, ok := want[f.GetName()][key]; ok {
				if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != v {
					t.Errorf("%s of %s is %v, Status says %v", f.GetName(), key, got, v)
				}
				delete(want[f.GetName()], key)
			}
		}
	}
	words := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "seawal_health" {
				words[m.GetLabel()[2].GetValue()] += m.GetGauge().GetValue()
			}
		}
	}
	if words["ok"] != 3 || words["gone"] != 0 || len(words) != 7 {
		t.Errorf("health of 3 replicas: %v", words)
	}
	for name, left := range want {
		if len(left) > 0 {
			t.Errorf("%s is not reported for %v", name, left)
		}
	}
}
