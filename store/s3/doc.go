// Package s3 keeps objects in a bucket of Amazon S3, or of a service that speaks its
// protocol: Cloudflare R2, Backblaze B2, DigitalOcean Spaces, Scaleway, Linode, Wasabi, MinIO, Tigris, versitygw.
//
// Importing it registers s3://bucket/prefix. Credentials, region and endpoint come from where the AWS tools
// look for them (environment, shared files, roles); parameters of the URL say what is no secret:
//
//	provider=digitalocean        a service whose endpoint, region and path style needn't be said; s3://bucket.fra1.digitaloceanspaces.com says as much
//	region=eu-central-1          instead of AWS_REGION
//	endpoint=https://host        instead of AWS_ENDPOINT_URL_S3
//	profile=name                 instead of AWS_PROFILE
//	account=id                   of Cloudflare R2
//	path_style=true|false        host/bucket instead of bucket.host; on by default with an endpoint
//	create=versions              a service without If-None-Match, which keeps versions: Backblaze B2 (versions.go)
//	insecure=true                an endpoint with http:// that is not on this machine
//
// An object is created with If-None-Match: *, which the service has to support unless it keeps versions: of two
// that write one name, one wins. Uploads carry Content-MD5, so a body that was damaged on its way is refused. Objects of more than
// 8 MiB go up in parts and appear with the last request.
package s3
