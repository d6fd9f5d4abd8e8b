package registry

import (
	"strings"

	"tokenvendor/shared/oauth"
)

// service is the service of SAP BTP that issued a service key; empty for native documents.
type service string

const (
	identityService service = "identity"
	xsuaaService    service = "xsuaa"
)

// endpoint holds the members that say where the token endpoint is.
type endpoint struct {
	// url is the token endpoint, issuer names the authorization server.
	url, issuer text
	// base and certificateBase are url and certurl of a service key.
	base, certificateBase text
	service               service
}

func readEndpoint(o object) endpoint {
	return endpoint{url: o.text("token_endpoint", maxLine), issuer: o.text("issuer", maxLine)}
}

// readServiceKeyEndpoint reads the endpoint of a service key. tokenServiceUrl is the name in
// the agent gateway's key file.
func readServiceKeyEndpoint(o object) endpoint {
	e := endpoint{
		service:         identityService,
		base:            o.text("url", maxLine),
		certificateBase: o.text("certurl", maxLine),
	}
	if o.given("uaadomain") || o.given("xsappname") {
		e.service = xsuaaService
	}
	if !e.base.given() {
		e.url = o.oneOf(maxLine, "token_url", "tokenServiceUrl")
	}
	return e
}

// find returns the token endpoint (empty if it must be discovered, or has a problem) and
// the issuer's identifier (empty if it is not known).
func (e endpoint) find(method oauth.Method, allowed oauth.AddressPolicy, problems *report) (tokenEndpoint, issuer string) {
	if e.issuer.given() && checkURL(e.issuer, true, allowed, problems) {
		issuer = e.issuer.value
	}
	switch {
	case e.url.given():
		if checkURL(e.url, false, allowed, problems) {
			tokenEndpoint = e.url.value
		}
	case e.service != "":
		return e.findForServiceKey(method, allowed, problems)
	case !e.issuer.given():
		problems.missing(e.url.name, ", and so is issuer")
	case isSAP(e.issuer.value):
		tokenEndpoint = underBase(e.issuer, "/oauth2/token")
	}
	return tokenEndpoint, issuer
}

// findForServiceKey finds the endpoint of a service key. SAP Cloud Identity Services
// accepts certificates at the same host, XSUAA only at certurl.
func (e endpoint) findForServiceKey(method oauth.Method, allowed oauth.AddressPolicy, problems *report) (tokenEndpoint, issuer string) {
	base, path := e.base, "/oauth2/token"
	if e.service == xsuaaService {
		path = "/oauth/token"
		if method.MutualTLS() {
			base = e.certificateBase
		}
	}
	if !base.given() {
		problems.missing(base.name, "")
		return "", ""
	}
	if !checkURL(base, true, allowed, problems) {
		return "", ""
	}
	if e.service == identityService {
		issuer = strings.TrimRight(base.value, "/")
	}
	return underBase(base, path), issuer
}

func underBase(base text, path string) string {
	return strings.TrimRight(base.value, "/") + path
}

// checkURL reports whether a URL can be used. A base, to which paths are added, must not
// have a query.
func checkURL(t text, base bool, allowed oauth.AddressPolicy, problems *report) bool {
	u, err := oauth.ParseEndpoint(t.value)
	switch {
	case err != nil:
		problems.add(t.name, "is not usable: "+err.Error())
	case base && (u.RawQuery != "" || u.ForceQuery):
		problems.add(t.name, "must not have a query")
	case !allowed.AllowsHost(u.Hostname()):
		problems.add(t.name, "has a host that is not allowed")
	default:
		return true
	}
	return false
}
