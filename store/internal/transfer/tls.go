package transfer

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// RequireTLS refuses an endpoint to which data and credentials would go unencrypted over a network, unless the URL of
// the replica says insecure=true. What stays on this machine needs no encryption.
func RequireTLS(endpoint string, insecure bool) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" || insecure {
		return nil // what is no URL fails elsewhere, with a better reason
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("the endpoint http://%s is not encrypted, so that anybody on the way could read the database, and the credentials; "+
		"use https, or add insecure=true to the replica's URL if the network is yours alone", u.Host)
}

// ParseInsecure reads the parameter insecure.
func ParseInsecure(value string) (bool, error) {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("parameter insecure is %q; write true or false", value)
	}
	return on, nil
}
