package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// place is where the token endpoint is.
type place struct {
	// endpoint is the full URL; issuer names the authorization server.
	endpoint, issuer text
	// base and certificateBase are url and certurl of a service key.
	base, certificateBase text
	service               service
}

// checkPlace finds the token endpoint, except where discovery has to.
func (r *Registry) checkPlace(d *document, problems *report) {
	p := d.place
	if p.issuer.given() && r.checkURL(p.issuer, true, problems) {
		d.audience = p.issuer.value
	}
	switch {
	case p.endpoint.given():
		if r.checkURL(p.endpoint, false, problems) {
			d.tokenEndpoint = p.endpoint.value
		}
	case p.service != "":
		r.checkService(d, problems)
	case !p.issuer.given():
		problems.missing(p.endpoint.name, ", and so is issuer")
	case isSAP(p.issuer.value):
		d.tokenEndpoint = underBase(p.issuer, "/oauth2/token")
	}
}

// checkService finds the token endpoint of a service key. SAP Cloud Identity
// Services takes certificates at the same host; XSUAA only at certurl.
func (r *Registry) checkService(d *document, problems *report) {
	base, path := d.place.base, "/oauth2/token"
	if d.place.service == xsuaaService {
		path = "/oauth/token"
		if d.method.MutualTLS() {
			base = d.place.certificateBase
		}
	}
	if !base.given() {
		problems.missing(base.name, "")
		return
	}
	if r.checkURL(base, true, problems) {
		d.tokenEndpoint = underBase(base, path)
		if d.place.service == identityService {
			d.audience = strings.TrimRight(base.value, "/")
		}
	}
}

func underBase(base text, path string) string {
	return strings.TrimRight(base.value, "/") + path
}

// checkURL reports whether a URL can be used. One that paths are added to must
// not have a query.
func (r *Registry) checkURL(t text, base bool, problems *report) bool {
	u, err := oauth.ParseEndpoint(t.value)
	switch {
	case err != nil:
		problems.add(t.name, "is not usable: "+err.Error())
	case base && (u.RawQuery != "" || u.ForceQuery):
		problems.add(t.name, "must not have a query")
	case !r.allowsHost(u):
		problems.add(t.name, "has a host that is not allowed")
	default:
		return true
	}
	return false
}

// allowsHost judges a host that is an address, so that a bad document is found
// out at once. A name is judged when it is dialled, and again each time.
func (r *Registry) allowsHost(u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return r.cfg.Addresses.Allows(ip)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return r.cfg.Addresses.Allows(netip.IPv6Loopback())
	}
	// No top-level domain begins with a digit, but some resolvers read 127.1,
	// 2130706433 and 0x7f.1 as addresses.
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && (last[0] < '0' || last[0] > '9')
}

// sapDomains are the domains under which SAP Cloud Identity Services gives each
// tenant a host.
func sapDomains() []string {
	return []string{
		"accounts.ondemand.com", "accounts.cloud.sap", "accounts.sapcloud.cn",
		"trial-accounts.ondemand.com", "accounts400.ondemand.com",
	}
}

// isSAP reports whether an issuer is a tenant of SAP Cloud Identity Services,
// whose token endpoint needs no discovery: older tenants name themselves there
// without "https://". It chooses a default and grants no trust.
func isSAP(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	for _, domain := range sapDomains() {
		if tenant, ok := strings.CutSuffix(host, "."+domain); ok && tenant != "" {
			return true
		}
	}
	return false
}

// locate asks the issuer for its token endpoint when the document leaves that
// open. The error wraps [secret.ErrUnavailable].
func (r *Registry) locate(ctx context.Context, d *document, problems *report) error {
	if d.tokenEndpoint != "" {
		return nil
	}
	issuer := d.place.issuer
	metadata, err := r.cfg.Discover(ctx, d.options.roots, d.tlsCertificate(), issuer.value)
	switch {
	case err == nil:
	case errors.Is(err, oauth.ErrDiscovery), ctx.Err() != nil:
		return fmt.Errorf("%w: %v", secret.ErrUnavailable, err)
	default:
		problems.add(issuer.name, "cannot be used: "+strings.TrimPrefix(err.Error(), "issuer: "))
		return nil
	}
	d.tokenEndpoint = metadata.TokenEndpoint
	if d.method.MutualTLS() && metadata.MutualTLSTokenEndpoint != "" {
		d.tokenEndpoint = metadata.MutualTLSTokenEndpoint
	}
	return nil
}
