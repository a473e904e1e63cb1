package s3_test

import (
	"strings"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver/proxy"
)

func TestKill(t *testing.T) {
	_, bucket := server(t)
	storetrial.Kill(t, "s3://"+bucket+"/kill")
}

func TestOutage(t *testing.T) {
	endpoint, bucket := server(t)
	p := proxy.NewHTTP(t, strings.TrimPrefix(endpoint, "http://"))
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+p.Addr())
	storetrial.Outage(t, "s3://"+bucket+"/outage", p.TCP, p)
}
