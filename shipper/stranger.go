package shipper

import (
	"context"
	"errors"
	"fmt"
	"os"

	"seawal/internal/replica"
	"seawal/internal/segment"
)

// Without a state directory nothing but the content tells whose a replica is. Databases that were made from one template, or by the same
// migrations, share nearly all of their pages, and are two all the same. So only what is exact is a proof: a point of the replica,
// byte for byte, or the place in the WAL where it ends. Even that counts for nothing when the database began empty in this process, or when it
// is at the replica's first point, where a template may have led both, and the replica's own database is on this machine, too. A person who knows better says so, with the replica's id.

// stranger is the error for a database that is not proven to be the replica's.
func (s *Shipper) stranger(rep replica.Replica, why string) error {
	return fmt.Errorf("%w: %s; use another URL for %s (_replica=…), or move the old replica away, or get its database back (restore --force URL %[3]s); "+
		"if this database is to go on in it all the same, on a new timeline, say _adopt=%v, or _recreated=new-timeline where that is to hold for every file that is put at this path",
		ErrOtherDatabase, why, s.cfg.DBPath, rep.ID)
}

// isAdopted says that a person has named the replica as this database's, by its id or by its path.
func (s *Shipper) isAdopted(rep replica.Replica) bool {
	return s.cfg.Adopt == rep.ID || s.isRecreated(rep)
}

// isRecreated says that a person has named whatever is at the path of a replica's database as that database.
func (s *Shipper) isRecreated(rep replica.Replica) bool {
	return s.cfg.Recreated && (rep.Path == s.cfg.DBPath || rep.Path == "" && s.state != nil)
}

// anew is why a timeline is opened for a database that began empty in this process; "" for another one.
func (s *Shipper) anew() string {
	if s.cfg.BeganEmpty && s.isRecreated(s.rep) {
		return "the database was removed, and made again under its name"
	}
	return ""
}

// suspect says why a replica that the state directory doesn't know can't be this database's, whatever that holds: it has something and the
// database began empty, or it was only begun, for another database.
func (s *Shipper) suspect(ctx context.Context, rep replica.Replica) error {
	other := OriginHere(rep, s.cfg.DBPath)
	if s.state != nil || s.isAdopted(rep) || other == "" && !s.cfg.BeganEmpty {
		return nil
	}
	err := s.mayBegin(ctx, rep)
	switch {
	case err == nil && other != "":
		return s.stranger(rep, fmt.Sprintf("it is that of %q, which is here too", other))
	case errors.Is(err, ErrOtherDatabase) && s.cfg.BeganEmpty:
		return fmt.Errorf("%w: %s was missing or empty when it was opened, and replica %v holds a database: nothing of it is overwritten; "+
			"give the new database a URL of its own (_replica=…), or move it away and open with _restore=if-missing to go on with the old one, "+
			"or open it with _recreated=new-timeline to go on with the new one in the same replica",
			ErrReplicaExists, s.cfg.DBPath, rep.ID)
	case errors.Is(err, ErrOtherDatabase):
		return nil
	}
	return err
}

// isTemplate says why a database that is exactly at a point of the replica isn't the replica's all the same: at its first point, which it
// had from a template perhaps, while the database that the replica was made for is here too. Behind that point is what only the one did.
func (s *Shipper) isTemplate(ctx context.Context, at replica.Pos) error {
	other := OriginHere(s.rep, s.cfg.DBPath)
	if s.state != nil || s.isAdopted(s.rep) || other == "" {
		return nil
	}
	root := replica.PointOf(s.all, replica.Pos{Timeline: at.Timeline})
	for o, err := range s.store.List(ctx, segment.SnapshotPrefix(root.Timeline), "") {
		if err != nil {
			return fmt.Errorf("look for the replica's first point: %w", err)
		}
		if n, err := segment.ParseName(o.Name); err == nil && at.Tx > n.Last {
			return nil
		} else if err == nil {
			break
		}
	}
	// It may be a copy of that database after all, whose writer has the replica: so it is ErrFenced, too.
	why := fmt.Sprintf("it is that of %q, which is here too, and %s is where that began", other, s.cfg.DBPath)
	return fmt.Errorf("%w (%w)", s.stranger(s.rep, why), ErrFenced)
}

// OriginHere is the file that a replica was made for, if that is another one than path and still exists: replicas are named after the
// file alone in many configurations, and two files may have one name. "" if not, or where the replica doesn't say. A database that was
// moved, or restored on another machine, has left no file there.
func OriginHere(rep replica.Replica, path string) string {
	if rep.Path == "" || rep.Path == path {
		return ""
	}
	origin, err := os.Stat(rep.Path)
	if err != nil || !origin.Mode().IsRegular() || origin.Size() == 0 {
		return ""
	}
	if own, err := os.Stat(path); err == nil && os.SameFile(origin, own) {
		return ""
	}
	return rep.Path
}
