package sftp_test

import (
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
)

func TestKill(t *testing.T) {
	server := testserver.SFTP(t)
	storetrial.Kill(t, server.URL(server.Addr, "kill"))
}

func TestOutage(t *testing.T) {
	server := testserver.SFTP(t)
	p := proxy.NewTCP(t, server.Addr)
	server.Knows(t, p.Addr())
	storetrial.Outage(t, server.URL(p.Addr(), "outage"), p, nil)
}
