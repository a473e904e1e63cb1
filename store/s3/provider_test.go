package s3

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProviders(t *testing.T) {
	type where struct {
		Bucket, Root, Endpoint, Region string
		PathStyle                      bool
	}
	for _, tt := range []struct {
		url  string
		want where
		err  string
	}{
		{url: "s3://b/app", want: where{Bucket: "b", Root: "app"}},
		{url: "s3://b.with.dots/app", want: where{Bucket: "b.with.dots", Root: "app"}},
		{url: "s3://b/app?provider=digitalocean&region=fra1",
			want: where{Bucket: "b", Root: "app", Endpoint: "https://fra1.digitaloceanspaces.com", Region: "us-east-1", PathStyle: true}},
		{url: "s3://b.fra1.digitaloceanspaces.com/app/x",
			want: where{Bucket: "b", Root: "app/x", Endpoint: "https://fra1.digitaloceanspaces.com", Region: "us-east-1", PathStyle: true}},
		{url: "s3://b.c.fra1.digitaloceanspaces.com/app?region=fra1",
			want: where{Bucket: "b.c", Root: "app", Endpoint: "https://fra1.digitaloceanspaces.com", Region: "us-east-1", PathStyle: true}},
		{url: "s3://fra1.digitaloceanspaces.com/b/app",
			want: where{Bucket: "b", Root: "app", Endpoint: "https://fra1.digitaloceanspaces.com", Region: "us-east-1", PathStyle: true}},
		{url: "s3://b.s3.us-west-004.backblazeb2.com/app",
			want: where{Bucket: "b", Root: "app", Endpoint: "https://s3.us-west-004.backblazeb2.com", Region: "us-west-004", PathStyle: true}},
		{url: "s3://s3.us-west-004.backblazeb2.com/b/app",
			want: where{Bucket: "b", Root: "app", Endpoint: "https://s3.us-west-004.backblazeb2.com", Region: "us-west-004", PathStyle: true}},
		{url: "s3://b.s3.fr-par.scw.cloud/app", want: where{Bucket: "b", Root: "app", Endpoint: "https://s3.fr-par.scw.cloud", Region: "fr-par", PathStyle: true}},
		{url: "s3://b.s3.amazonaws.com/app", want: where{Bucket: "b", Root: "app"}},
		{url: "s3://b.c.s3.eu-central-1.amazonaws.com/app", want: where{Bucket: "b.c", Root: "app", Region: "eu-central-1"}},
		{url: "s3://s3.eu-central-1.amazonaws.com/b/app", want: where{Bucket: "b", Root: "app", Region: "eu-central-1"}},
		{url: "s3://b/app?provider=r2&account=abc", want: where{Bucket: "b", Root: "app", Endpoint: "https://abc.r2.cloudflarestorage.com", Region: "auto", PathStyle: true}},
		{url: "s3://b/app?provider=tigris", want: where{Bucket: "b", Root: "app", Endpoint: "https://t3.storage.dev", Region: "auto"}},
		{url: "s3://b/app?provider=garage&endpoint=https://g:3900", want: where{Bucket: "b", Root: "app", Endpoint: "https://g:3900", Region: "garage", PathStyle: true}},
		{url: "s3://b/app?provider=minio&endpoint=https://m&region=eu&path_style=false", want: where{Bucket: "b", Root: "app", Endpoint: "https://m", Region: "eu"}},
		{url: "s3://b/app?provider=linode&region=us-east-1", want: where{Bucket: "b", Root: "app", Endpoint: "https://us-east-1.linodeobjects.com", Region: "us-east-1", PathStyle: true}},
		{url: "s3://b/app?provider=ocean", err: "there are aws, backblaze"},
		{url: "s3://b/app?provider=digitalocean", err: "&region=…"},
		{url: "s3://b/app?provider=minio", err: "&endpoint=https://host"},
		{url: "s3://b.fra1.digitaloceanspaces.com/app?region=nyc3", err: "leave the parameter out"},
		{url: "s3://fra1.digitaloceanspaces.com/", err: "names no bucket"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			set, err := parseSettings(u.Query())
			if err != nil {
				t.Fatal(err)
			}
			at, err := placeOf(u, &set)
			if err == nil {
				err = set.resolve()
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := where{Bucket: at.bucket, Root: at.root, Endpoint: set.endpoint, Region: set.region, PathStyle: set.pathStyle != nil && *set.pathStyle}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
