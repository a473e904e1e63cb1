package vfs

import (
	"strings"
	"testing"
)

func TestMountNotice(t *testing.T) {
	const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /srv/shared rw - nfs4 server:/x rw,vers=4.2
31 30 254:1 / /srv/shared/local rw master:1 - xfs /dev/vdb rw
32 22 0:26 / /mnt/a\040b rw - 9p hostshare rw
33 22 0:27 / /over rw - virtiofs tag rw
34 22 254:2 / /over rw - ext4 /dev/vdc rw
35 22 0:28 / /s3 rw - fuse.s3fs s3fs rw
36 22 0:29 / /home rw - fuse.ecryptfs home rw
not a line of a mountinfo
`
	for path, want := range map[string]string{
		"/app.db":                   "",
		"/srv/app.db":               "",
		"/srv/shared/app.db":        "NFS (mounted at /srv/shared)",
		"/srv/sharedness/app.db":    "",
		"/srv/shared/local/app.db":  "",
		"/srv/shared/locals/app.db": "NFS",
		"/mnt/a b/app.db":           "9p",
		"/over/app.db":              "", // the later mount is what one sees
		"/s3/x/y.db":                "s3fs",
		"/home/app.db":              "",
		"/srv/shared":               "NFS",
	} {
		got := mountNotice(path, strings.NewReader(mounts))
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want something with %q", path, got, want)
		}
	}
	if got := mountNotice("/a.db", strings.NewReader("")); got != "" {
		t.Errorf("without mountinfo: %q", got)
	}
}

func TestMountIsTold(t *testing.T) {
	d := &database{path: "/a.db", replicas: []string{"x", "y"}, found: map[string]mended{"x": {text: "rolled forward"}}}
	d.noteMount("")
	if len(d.found) != 1 {
		t.Errorf("nothing was wrong, and found is %v", d.found)
	}
	d.noteMount("on NFS")
	if d.found["x"].text != "rolled forward; on NFS" || d.found["y"].text != "on NFS" {
		t.Errorf("found is %v", d.found)
	}
}
