package oauth

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"
)

// probeWait is how long a server may take to end the connection of a probe. The alert about a
// missing certificate takes one round trip.
const probeWait = time.Second

// explainDrop finds out what a connection means that the server ended without an alert after it
// had requested the client's certificate. Node's https refuses a certificate in this way, and a
// server that is going down ends all connections so. Only a certificate that has not obtained a
// token yet is taken for the reason.
func (c *Client) explainDrop(ctx context.Context, failure *Error) {
	switch {
	case failure.proven:
		failure.Detail += "; if that lasts, the server may refuse the client certificate"
	case c.acceptsOthers(ctx):
		failure.Reason = CertificateRefused
		failure.Detail = "this is probable, because it ended the connection without an alert and accepts others"
	}
}

// acceptsOthers reports whether the server accepts a connection for which the client has no
// certificate: it keeps it, or ends it by the alert that a certificate is missing, as Node does.
// No request is sent.
func (c *Client) acceptsOthers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+tlsTimeout)
	defer cancel()
	endpoint, err := url.Parse(c.url)
	if err != nil {
		return false
	}
	transport := c.connection.versions.current()
	conn, err := transport.DialContext(ctx, "tcp", net.JoinHostPort(endpoint.Hostname(), cmp.Or(endpoint.Port(), "443")))
	if err != nil {
		return false
	}
	config := transport.TLSClientConfig.Clone()
	config.ServerName, config.GetClientCertificate = endpoint.Hostname(), nil
	secure := tls.Client(conn, config)
	defer func() { _ = secure.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends the read
	if err = secure.HandshakeContext(ctx); err == nil {
		// In TLS 1.3 the server judges the certificate after the client's handshake.
		_ = secure.SetReadDeadline(time.Now().Add(probeWait))
		if _, err = secure.Read(make([]byte, 1)); err == nil || ctx.Err() == nil && isTimeout(err) {
			return true
		}
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && op.Err.Error() != internalError
}
