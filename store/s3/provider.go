package s3

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"seawal/store/internal/transfer"
)

// provider is a service that speaks Amazon's protocol, and how it is reached: what one would look up in its documentation.
type provider struct {
	endpoint  string // with {region} or {account} in it; "": it has to be said
	region    string // that requests are signed for; "": that of the URL
	host      string // the end of the names of its hosts, behind the region; "": no URL names them
	prefix    string // of such a name, in front of the region: "s3."
	pathStyle bool   // host/bucket in place of bucket.host
	create    string // createVersions where there is no If-None-Match
	parts     transfer.Limits
	header    [2]string // name and value of a header that every request has to have
}

// providers by the name that the parameter provider has for them. docs/STORES.md says which of them were tried.
var providers = map[string]provider{
	"aws":          {},
	"backblaze":    {endpoint: "https://s3.{region}.backblazeb2.com", host: ".backblazeb2.com", prefix: "s3.", pathStyle: true, create: createVersions},
	"ceph":         {region: "default", pathStyle: true},
	"digitalocean": {endpoint: "https://{region}.digitaloceanspaces.com", region: "us-east-1", host: ".digitaloceanspaces.com", pathStyle: true},
	"garage":       {region: "garage", pathStyle: true},
	"hetzner":      {endpoint: "https://{region}.your-objectstorage.com", host: ".your-objectstorage.com", pathStyle: true},
	"linode":       {endpoint: "https://{region}.linodeobjects.com", host: ".linodeobjects.com", pathStyle: true},
	"minio":        {region: "us-east-1", pathStyle: true},
	"ovh":          {endpoint: "https://s3.{region}.io.cloud.ovh.net", host: ".io.cloud.ovh.net", prefix: "s3.", pathStyle: true},
	"r2":           {endpoint: "https://{account}.r2.cloudflarestorage.com", region: "auto", pathStyle: true, parts: transfer.Limits{Equal: true}},
	"scaleway":     {endpoint: "https://s3.{region}.scw.cloud", host: ".scw.cloud", prefix: "s3.", pathStyle: true, parts: transfer.Limits{Count: 1000}},
	"tigris":       {endpoint: "https://t3.storage.dev", region: "auto", header: [2]string{"X-Tigris-Consistent", "true"}}, // else a condition is looked at in one region only
	"wasabi":       {endpoint: "https://s3.{region}.wasabisys.com", host: ".wasabisys.com", prefix: "s3.", pathStyle: true},
}

// place is a bucket and the folder in it that a URL names.
type place struct {
	bucket, root string
}

// placeOf reads where a URL leads. A host that is a provider's own, as in s3://bucket.fra1.digitaloceanspaces.com/app or
// s3://fra1.digitaloceanspaces.com/bucket/app, says provider, region and bucket; any other one is a bucket.
func placeOf(u *url.URL, set *settings) (place, error) {
	p := place{bucket: u.Host, root: strings.Trim(u.Path, "/")}
	name, bucket, region, ok := ofHost(u.Host)
	if !ok {
		return p, nil
	}
	for _, given := range []struct{ param, said, meant string }{
		{"provider", set.provider, name}, {"region", set.region, region},
	} {
		if given.said != "" && given.meant != "" && given.said != given.meant {
			return p, fmt.Errorf("the host %s says %s=%s, and the parameter %s; leave the parameter out", u.Host, given.param, given.meant, given.said)
		}
	}
	set.provider = name
	if region != "" {
		set.region = region
	}
	p.bucket = bucket
	if bucket == "" {
		p.bucket, p.root, _ = strings.Cut(p.root, "/")
	}
	if p.bucket == "" {
		return p, fmt.Errorf("it names no bucket; write s3://bucket.%s/prefix", u.Host)
	}
	return p, nil
}

// ofHost takes a provider's host name apart.
func ofHost(host string) (name, bucket, region string, ok bool) {
	if rest, isAmazon := strings.CutSuffix(host, ".amazonaws.com"); isAmazon {
		if bucket, isDefault := strings.CutSuffix(rest, ".s3"); isDefault {
			return "aws", bucket, "", true
		}
		if i := strings.LastIndex("."+rest, ".s3."); i >= 0 {
			return "aws", strings.TrimSuffix(rest[:i], "."), rest[i+len("s3."):], true
		}
		return "", "", "", false
	}
	for _, name := range slices.Sorted(maps.Keys(providers)) {
		p := providers[name]
		rest, isTheirs := strings.CutSuffix(host, p.host)
		if p.host == "" || !isTheirs {
			continue
		}
		if i := strings.LastIndexByte(rest, '.'); i >= 0 {
			bucket, region = rest[:i], rest[i+1:]
		} else {
			region = rest
		}
		if p.prefix != "" {
			rest, hasPrefix := strings.CutSuffix("."+bucket+".", "."+p.prefix)
			if !hasPrefix {
				return "", "", "", false
			}
			bucket = strings.TrimPrefix(rest, ".")
		}
		return name, bucket, region, region != ""
	}
	return "", "", "", false
}

// resolve fills in what the provider says and the URL doesn't.
func (s *settings) resolve() error {
	if s.provider == "" {
		return nil
	}
	p, ok := providers[s.provider]
	if !ok {
		return fmt.Errorf("parameter provider is %q; there are %s, and without it endpoint and region name any other", s.provider, strings.Join(slices.Sorted(maps.Keys(providers)), ", "))
	}
	if s.endpoint == "" {
		s.endpoint = p.endpoint
		for name, value := range map[string]string{"region": s.region, "account": s.account} {
			if hole := "{" + name + "}"; strings.Contains(s.endpoint, hole) {
				if value == "" {
					return fmt.Errorf("provider=%s needs a %s; write &%s=…", s.provider, name, name)
				}
				s.endpoint = strings.ReplaceAll(s.endpoint, hole, value)
			}
		}
	}
	if s.endpoint == "" && s.provider != "aws" {
		return fmt.Errorf("provider=%s is wherever it was installed; write &endpoint=https://host", s.provider)
	}
	if p.region != "" && (s.region == "" || strings.Contains(p.endpoint, "{region}")) {
		s.region = p.region
	}
	if s.create == "" {
		s.create = p.create
	}
	s.parts, s.header = p.parts, p.header
	if s.pathStyle == nil && s.provider != "aws" {
		s.pathStyle = &p.pathStyle
	}
	return nil
}
