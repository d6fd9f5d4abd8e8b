package registry

import (
	"net/url"
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// service is the kind of server that a service key is for; empty for native documents.
type service string

const (
	identityService service = "identity"
	xsuaaService    service = "xsuaa"
	// otherService is one whose key has the URL of the token endpoint, knownPath one whose
	// token endpoint has a fixed path.
	otherService service = "other"
	knownPath    service = "known path"
	// unknownService has neither: url may be that of an API.
	unknownService service = "unknown"
)

// endpoint holds the members that say where the token endpoint is.
type endpoint struct {
	// url is the token endpoint, issuer names the authorization server.
	url, issuer text
	// base and certificateBase are url and certurl of a service key.
	base, certificateBase text
	service               service
	// path is that of the token endpoint below base, for knownPath.
	path string
}

func readEndpoint(o object) endpoint {
	return endpoint{url: o.text("token_endpoint", maxLine), issuer: o.text("issuer", maxLine)}
}

// find returns the token endpoint (empty if it must be discovered, or has a problem) and
// the issuer's identifier (empty if it is not known).
func (e endpoint) find(method oauth.Method, allowed oauth.AddressPolicy, problems *report) (tokenEndpoint, issuer string) {
	if e.issuer.given() && checkURL(e.issuer, true, allowed, problems) {
		issuer = e.issuer.value
	}
	switch {
	case e.service != "":
		return e.findForServiceKey(method, allowed, problems)
	case e.url.given():
		if checkURL(e.url, false, allowed, problems) {
			tokenEndpoint = e.url.value
		}
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
	base, path, certified := e.base, "/oauth2/token", false
	switch e.service {
	case xsuaaService:
		path, certified = "/oauth/token", method.MutualTLS()
	case knownPath:
		path = e.path
	}
	if e.url.given() && !(certified && isXSUAA(e.url.value) && !takesCertificates(e.url.value)) {
		return e.findByURL(path, allowed, problems)
	}
	if certified {
		base = e.certificateBase
	}
	switch {
	case !base.given():
		problems.missing(base.name, "")
		return "", ""
	case !checkURL(base, true, allowed, problems):
		return "", ""
	case !certified && (e.service == unknownService || e.service != knownPath && isApplication(base.value)):
		problems.add(base.name, "is the host of no token server that is known (SAP Cloud Identity Services, XSUAA), and "+
			e.url.name+" is missing: a secret is not sent to an API")
		return "", ""
	case e.service == identityService:
		issuer = withoutPath(base, path)
	}
	return underBase(base, path), issuer
}

// findByURL finds the endpoint of a service key that has its URL, which takes precedence: url
// is then that of an API. If it is the base of a server of SAP, the path is added.
func (e endpoint) findByURL(path string, allowed oauth.AddressPolicy, problems *report) (tokenEndpoint, issuer string) {
	if !checkURL(e.url, false, allowed, problems) {
		return "", ""
	}
	tokenEndpoint = e.url.value
	u, err := url.Parse(tokenEndpoint)
	if err == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && (isSAP(tokenEndpoint) || isXSUAA(tokenEndpoint)) {
		tokenEndpoint = underBase(e.url, path)
	}
	if e.service == identityService && e.base.given() && hostOf(e.base.value) == hostOf(tokenEndpoint) {
		issuer = withoutPath(e.base, path)
	}
	return tokenEndpoint, issuer
}

func underBase(base text, path string) string { return withoutPath(base, path) + path }

// withoutPath returns a base without the path of the token endpoint, which people add to it, and
// without the slash at its end.
func withoutPath(base text, path string) string {
	return strings.TrimSuffix(strings.TrimRight(base.value, "/"), path)
}

// checkURL reports whether a URL can be used. A base, to which paths are added, must not
// have a query.
func checkURL(t text, base bool, allowed oauth.AddressPolicy, problems *report) bool {
	u, err := oauth.ParseEndpoint(t.value)
	switch {
	case strings.TrimSpace(t.value) != t.value:
		problems.add(t.name, "begins or ends with a blank")
	case strings.ContainsAny(t.value, "<>{}"):
		problems.add(t.name, "holds a placeholder: put the value in its place")
	case strictjson.IsBase64(t.value, "https://"):
		problems.add(t.name, "looks like base64, as all data of a Kubernetes Secret: decode each value (base64 -d)")
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
