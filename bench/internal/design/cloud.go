package design

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "seawal/store/azure" // azblob://
	_ "seawal/store/gcs"   // gs://
	_ "seawal/store/s3"    // s3://
	_ "seawal/store/sftp"  // sftp://
)

// Clouds are the designs whose replica is behind a network, with the environment variable that says where: a URL, below which
// each measurement makes a replica of its own, and leaves it. The store's own variables have to be set as well (docs/STORES.md).
var Clouds = map[string]string{
	"seawal-gcs":   "SEAWAL_BENCH_GCS",
	"seawal-azure": "SEAWAL_BENCH_AZURE",
	"seawal-s3":    "SEAWAL_BENCH_S3",
	"seawal-sftp":  "SEAWAL_BENCH_SFTP",
}

func init() {
	for name, title := range map[string]string{"seawal-gcs": "seawal, GCS", "seawal-azure": "seawal, Azure", "seawal-s3": "seawal, S3", "seawal-sftp": "seawal, SFTP"} {
		Register(cloud(name, title, Clouds[name]))
	}
}

// cloud is seawal with its replica below the URL that the variable holds.
func cloud(name, title, variable string) Design {
	d := Replicated(name, title, 0, func(folder string) string { return below(os.Getenv(variable), folder) })
	d.Remote = true
	d.Check = func() error {
		if os.Getenv(variable) == "" {
			return fmt.Errorf("%s names no URL; make bench-stores sets it", variable)
		}
		return nil
	}
	open := d.Open
	d.Open = func(ctx context.Context, db Database) (Session, error) {
		s, err := open(ctx, db)
		if err != nil {
			return nil, fmt.Errorf("a replica below %s: %w", variable, err)
		}
		return s, nil
	}
	return d
}

// below is a place below the base URL for the replica of one measurement, whose folder has a name of its own.
func below(base, folder string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base // the store says what is wrong with it
	}
	return u.JoinPath(filepath.ToSlash(folder)).String()
}
