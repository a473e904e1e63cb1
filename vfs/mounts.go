//go:build cgo

package vfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sharedMounts are types of file systems whose files another machine, or the host of a virtual one, may have open too: the
// memory that SQLite's connections share in WAL mode, and its locks, don't reach that far. Some of them work for one machine alone, and
// nobody notices that they don't until pages are wrong.
var sharedMounts = map[string]string{
	"nfs": "NFS", "nfs4": "NFS", "cifs": "SMB", "smb3": "SMB", "smbfs": "SMB", "9p": "a folder of the host (9p)", "virtiofs": "a folder of the host (virtiofs)",
	"ceph": "CephFS", "glusterfs": "GlusterFS", "lustre": "Lustre", "afs": "AFS", "vboxsf": "a folder of the host (vboxsf)", "prl_fs": "a folder of the host (prl_fs)",
	"fuse.sshfs": "sshfs", "fuse.s3fs": "s3fs", "fuse.rclone": "rclone", "fuse.gcsfuse": "gcsfuse", "fuse.blobfuse2": "blobfuse2", "fuse.glusterfs": "GlusterFS",
	"fuse.juicefs": "JuiceFS", "fuse.grpcfuse": "a folder of the host (grpcfuse)", "fuse.osxfs": "a folder of the host (osxfs)", "fakeowner": "a folder of the host",
}

// mountNotice says what is wrong with the file system of a database, which it finds in mountinfo as proc(5) describes it. "":
// nothing, or it isn't known.
func mountNotice(path string, mountinfo io.Reader) string {
	var point, kind string
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 1 {
			continue
		}
		// The last one of a place hides those before it.
		if at := unescapeMount(fields[4]); isBelow(path, at) && len(at) >= len(point) {
			point, kind = at, rest[0]
		}
	}
	what, isShared := sharedMounts[kind]
	if !isShared {
		return ""
	}
	return fmt.Sprintf("%s is on %s (mounted at %s), and a WAL database needs local disk: connections on two machines corrupt it without an error. "+
		"Move it to a local disk, and let the replica be the copy that others read", path, what, point)
}

func isBelow(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}

// unescapeMount decodes the blanks of a path in mountinfo, which are octal there.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// noticeOfMount is mountNotice for this process. It knows Linux alone.
func noticeOfMount(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	return mountNotice(path, f)
}

// noteMount tells the log and Stat.Notice of a file system that isn't fit for the database; notice is "" for one that is.
func (d *database) noteMount(notice string) {
	if notice == "" {
		return
	}
	d.cfg.logger().Warn("the database is not on local disk", "db", d.path, "notice", notice)
	found := map[string]mended{}
	for _, url := range d.replicas {
		m := d.found[url]
		m.text = strings.TrimPrefix(m.text+"; "+notice, "; ")
		found[url] = m
	}
	d.found = found
}
