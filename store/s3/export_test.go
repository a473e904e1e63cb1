package s3

import (
	"context"
	"net"
	"net/http"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// DialTo makes a store of this package reach addr, whatever host its URL names; the host is in the requests and in TLS as ever.
func DialTo(s store.Store, addr string) {
	b, ok := s.(*bucket)
	if !ok {
		b = s.(*byVersions).bucket
	}
	t := b.http.Transport.(transfer.Signed).Base.(*http.Transport)
	t.Proxy = nil
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// PartsOf is what is known of the parts that a provider takes.
func PartsOf(name string) transfer.Limits { return providers[name].parts }
