package gcs_test

import (
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver/proxy"
)

func TestKill(t *testing.T) {
	_, bucket := server(t)
	storetrial.Kill(t, "gs://"+bucket+"/kill")
}

func TestOutage(t *testing.T) {
	addr, bucket := server(t)
	p := proxy.NewHTTP(t, addr)
	t.Setenv("STORAGE_EMULATOR_HOST", p.Addr())
	storetrial.Outage(t, "gs://"+bucket+"/outage", p.TCP, p)
}
