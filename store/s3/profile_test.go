package s3_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"seawal/store"
	s3store "seawal/store/s3"
	"seawal/store/storetest"
)

// condition is what a service makes of If-None-Match.
type condition string

const (
	conditionHeld     condition = "yes"
	conditionOnePiece condition = "not for uploads in parts" // looked at where an object comes in one request only
	conditionMarked   condition = "yes, with a header"       // looked at everywhere only with X-Tigris-Consistent
	conditionIgnored  condition = "no"                       // stores the object all the same
	conditionRefused  condition = "no, answers 501"
)

// profile is what is known of a service, as data: docs/STORES.md says it to users, and player plays it.
type profile struct {
	service   string    // as docs/STORES.md calls it; its URLs stand there, too
	condition condition // of the service as it is today
	from      string    // how that is known: documented, source, asked (it is for the user to ask)
	before    condition // of older releases that are still met; "": the same

	host      string // that a request names for the bucket "bucket", region and account as in docs/STORES.md
	inHost    bool   // the bucket is part of the host, not of the path
	region    string // that signatures name
	requestID string // how an answer begins the service's id of the request; "": it has none
	equal     bool   // parts have to have one size, but for the last one
	parts     int    // that an object may have; 0: 10,000
	checksums bool   // the newer checksums of the SDKs are understood
}

// profiles are by the name of the parameter provider.
var profiles = map[string]profile{
	"aws":          {service: "Amazon S3", condition: conditionHeld, from: "documented", host: "bucket.s3.eu-central-1.amazonaws.com", inHost: true, region: "eu-central-1", requestID: "4442587FB7D0A2F9", checksums: true},
	"backblaze":    {service: "Backblaze B2", condition: conditionRefused, from: "documented", host: "s3.us-west-004.backblazeb2.com", region: "us-west-004", requestID: "4_z"},
	"ceph":         {service: "Ceph", condition: conditionHeld, from: "source", before: conditionOnePiece, host: "host", region: "default", requestID: "tx000"},
	"r2":           {service: "Cloudflare R2", condition: conditionHeld, from: "documented", host: "ACCOUNT.r2.cloudflarestorage.com", region: "auto", equal: true},
	"digitalocean": {service: "DigitalOcean Spaces", condition: conditionHeld, from: "asked", before: conditionOnePiece, host: "fra1.digitaloceanspaces.com", region: "us-east-1", requestID: "tx000"},
	"garage":       {service: "Garage", condition: conditionIgnored, from: "source", host: "host:3900", region: "garage"},
	"hetzner":      {service: "Hetzner", condition: conditionHeld, from: "asked", before: conditionOnePiece, host: "fsn1.your-objectstorage.com", region: "fsn1", requestID: "tx000"},
	"linode":       {service: "Linode", condition: conditionHeld, from: "asked", before: conditionOnePiece, host: "us-east-1.linodeobjects.com", region: "us-east-1", requestID: "tx000"},
	"minio":        {service: "MinIO", condition: conditionHeld, from: "documented", host: "minio:9000", region: "us-east-1", requestID: "17A1", checksums: true},
	"ovh":          {service: "OVH", condition: conditionHeld, from: "documented", before: conditionRefused, host: "s3.gra.io.cloud.ovh.net", region: "gra", requestID: "tx000"},
	"scaleway":     {service: "Scaleway", condition: conditionHeld, from: "documented", host: "s3.fr-par.scw.cloud", region: "fr-par", requestID: "txg", parts: 1000},
	"tigris":       {service: "Tigris", condition: conditionMarked, from: "documented", host: "bucket.t3.storage.dev", inHost: true, region: "auto", requestID: "1700"},
	"wasabi":       {service: "Wasabi", condition: conditionHeld, from: "asked", before: conditionIgnored, host: "s3.eu-central-1.wasabisys.com", region: "eu-central-1", requestID: "B4"},
}

// conditions are what a service is played with.
func (p profile) conditions() []condition {
	if p.before == "" || p.before == p.condition {
		return []condition{p.condition}
	}
	return []condition{p.condition, p.before}
}

// Everything that a service does differently is played in front of the test's server, and reached with the URLs that
// docs/STORES.md prints: host, TLS, region, signature and path are looked at as the service would.
func TestProfiles(t *testing.T) {
	play := newPlayer(t)
	rows := tableOf(t, "| service | URL of the replica |")
	for name, p := range profiles {
		row := rows[p.service]
		if len(row) != 2 {
			t.Errorf("docs/STORES.md has no URL for %s", p.service)
			continue
		}
		for i, cell := range row {
			for at, c := range p.conditions() {
				rawURL := strings.Trim(cell, "`")
				if !strings.HasPrefix(rawURL, "s3://") || i > 0 && at > 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%s", name, i, c), func(t *testing.T) {
					t.Parallel()
					open := play.serve(t, p, c, rawURL)
					switch {
					case c == conditionIgnored || c == conditionOnePiece:
						wantOverwritten(t, open(t), c)
					case c == conditionRefused && name != "backblaze":
						wantRefused(t, open(t))
					case i > 0: // the same service, by its host
						wantReached(t, open(t))
					default:
						storetest.RunSmall(t, open)
					}
				})
			}
		}
	}
}

// wantReached creates a name and reads it.
func wantReached(t *testing.T, s store.Store) {
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Stat(t.Context(), "a"); err != nil || o.Size != int64(len("content")) {
		t.Errorf("stat: %+v, %v", o, err)
	}
}

// wantRefused wants an error that names what the service lacks.
func wantRefused(t *testing.T, s store.Store) {
	defer s.Close()
	if err := put(t, s, "a"); !store.IsPermanent(err) || !strings.Contains(err.Error(), "If-None-Match") {
		t.Errorf("create: %v; want a permanent error that names If-None-Match", err)
	}
}

// wantOverwritten looks that creating a name twice, in one of the two ways, shows what the service is: that is how it is found out
// when a replica is made.
func wantOverwritten(t *testing.T, s store.Store, c condition) {
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	err := put(t, s, "a")
	if held := c == conditionOnePiece; held != (err != nil) {
		t.Errorf("create of a taken name in one piece: %v; the service is %s", err, c)
	}
	if err := s.Create(store.WithParts(t.Context()), "a", store.BytesBody([]byte("content"))); err != nil {
		t.Errorf("create of a taken name in parts: %v; the service is %s", err, c)
	}
}

// What docs/STORES.md says about each service is what was played.
func TestProfilesAreDocumented(t *testing.T) {
	rows := tableOf(t, "| service | conditional create |")
	got, want := map[string][2]string{}, map[string][2]string{}
	for service, cells := range rows {
		if len(cells) != 3 {
			t.Fatalf("%s: %q", service, cells)
		}
		got[service] = [2]string{cells[0], cells[1]}
	}
	for _, p := range profiles {
		c := string(p.condition)
		if p.from == "asked" {
			c = "ask before you rely on it"
		}
		want[p.service] = [2]string{c, map[string]string{
			"documented": "documented, played", "source": "its source, played", "asked": "played",
		}[p.from]}
	}
	want["versitygw"] = [2]string{"yes", "tried"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/STORES.md (-want +got):\n%s", diff)
	}
}

// tableOf reads a table of docs/STORES.md: its first column, and the others.
func tableOf(t *testing.T, head string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/STORES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), head)
	if !ok {
		t.Fatalf("docs/STORES.md has no table %q", head)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string][]string{}
	for _, line := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) > 1 {
			rows[cells[0]] = cells[1:]
		}
	}
	return rows
}

// A bucket's objects go up in parts that the service takes, whatever size they have: see transfer.Limits for the sizes.
func TestProviderLimits(t *testing.T) {
	for name, p := range profiles {
		if got := s3store.PartsOf(name); got.Equal != p.equal || got.Count != p.parts {
			t.Errorf("%s: %+v; want equal %v, %d parts", name, got, p.equal, p.parts)
		}
	}
}
