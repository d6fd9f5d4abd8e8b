package registry

import "strings"

// spelling is how a kind of service key names its members. The first name of a list is the one
// in problems.
type spelling struct{ id, secret, key, kind, tokenURL, certificateURL []string }

// lowerCase is the spelling of SAP BTP's keys. privateKey and tokenServiceUrl are the names in
// the agent gateway's key file, tokenurl is that of SAP Integration Suite, tokenendpoint that
// of SAP Event Mesh; older keys of the service identity have token_url.
func lowerCase() spelling {
	return spelling{
		id:             []string{"clientid", "clientId"},
		secret:         []string{"clientsecret", "clientSecret", "secret"},
		key:            []string{"key", "privateKey"},
		kind:           []string{"credential-type", "credential_type", "credentialType"},
		tokenURL:       []string{"tokenurl", "token_url", "tokenServiceUrl", "tokenServiceURL", "tokenendpoint", "tokenUrl", "tokenURL", "tokenEndpoint", "token_endpoint"},
		certificateURL: []string{"certurl", "certUrl"},
	}
}

// camelCase is the spelling of SAP API Management, SAP Datasphere and SAP Analytics Cloud.
// Datasphere calls the secret "secret".
func camelCase() spelling {
	s := lowerCase()
	s.id, s.secret = []string{"clientId"}, []string{"clientSecret", "secret", "clientsecret"}
	s.kind = []string{"credentialType", "credential-type", "credential_type"}
	s.tokenURL = append([]string{"tokenUrl"}, s.tokenURL...)
	return s
}

// readServiceKey reads a key of a service of SAP BTP. Unknown members are ignored, because a
// key holds many and SAP adds others.
func readServiceKey(o object, names spelling) *document {
	o.nullIsAbsent = true
	d := &document{
		id: o.report.line(o.first(maxLine, names.id...)),
		credential: credential{
			secret:      o.first(maxSecret, names.secret...),
			certificate: o.text("certificate", maxDocument),
			key:         o.oneOf(maxDocument, names.key...),
			keyPassword: text{name: "private_key_password beside service_key"},
			kind:        o.report.line(o.first(maxLine, names.kind...)),
		},
		endpoint: endpoint{
			base:            o.text("url", maxLine),
			certificateBase: o.first(maxLine, names.certificateURL...),
			url:             o.oneOf(maxLine, names.tokenURL...),
		},
		options: emptyOptions(),
		key:     o,
	}
	if e := &d.endpoint; !e.certificateBase.given() && takesCertificates(e.base.value) {
		e.certificateBase = e.base
	}
	d.endpoint.service = d.endpoint.serviceOf(o)
	// SAP Cloud Identity Services needs the tenant if one client serves several; otherwise
	// the client authentication fails.
	if tenant := o.line("app_tid", maxLine); tenant.given() && d.endpoint.service == identityService {
		d.options.parameters["app_tid"] = tenant.value
	}
	return d
}

// serviceOf returns the service that the key o is for. Keys of SAP AI Core and other services
// of SAP BTP are for XSUAA, and often have none of its members: the host tells.
func (e endpoint) serviceOf(o object) service {
	server, xsuaa := e.base.value, o.givenAny("uaadomain", "xsappname")
	if e.url.given() {
		server = e.url.value
	}
	switch {
	case xsuaa && !e.url.given():
		return xsuaaService
	case isSAP(server):
		return identityService
	case isXSUAA(server), xsuaa, e.certificateBase.given():
		return xsuaaService
	case o.givenAny("app_tid", "domains", "authorization_endpoint", "end_session_endpoint", "btp-tenant-api",
		"prooftoken_url", "osb_url", "authorization_instance_id", "authorization_bundle_url", "zone_uuid"):
		// The tenant has a domain of its customer.
		return identityService
	case e.url.given():
		return otherService
	}
	return unknownService
}

// readCamelCase reads a key with clientId: one of [camelCase], or the secret that AWS rotates
// for Databricks.
func readCamelCase(o object) *document {
	if o.given("accountId") && !o.givenAny(append(camelCase().tokenURL, "url")...) {
		return readDatabricks(o)
	}
	// Such a key is often written by hand.
	for _, name := range []string{"scope", "resource", "audience", "token_format", "parameters"} {
		if o.given(name) {
			o.report.add(o.path+name, "has no effect beside clientId: name the key service_key")
		}
	}
	return readServiceKey(o, camelCase())
}

// readSalesforce reads the secret of an app of Salesforce as AWS Secrets Manager keeps and
// rotates it (managed external secrets).
func readSalesforce(o object) *document {
	o.nullIsAbsent = true
	return &document{
		id:         o.line("consumerKey", maxLine),
		credential: credential{secret: o.text("consumerSecret", maxSecret)},
		endpoint:   endpoint{service: knownPath, base: o.text("baseUri", maxLine), path: "/services/oauth2/token"},
		options:    emptyOptions(),
	}
}

// readDatabricks reads the secret of a service principal of Databricks as AWS Secrets Manager
// keeps and rotates it (managed external secrets). Databricks documents HTTP Basic, and
// requires the scope.
func readDatabricks(o object) *document {
	o.nullIsAbsent = true
	account := o.line("accountId", maxLine)
	if strings.Trim(strings.ToLower(account.value), "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		// It becomes part of a path.
		o.report.add(account.name, "must be letters, digits and hyphens")
		account.value = ""
	}
	d := &document{
		id: o.line("clientId", maxLine),
		credential: credential{
			secret:     o.text("clientSecret", maxSecret),
			methodName: text{o.path + "clientId", "client_secret_basic"},
		},
		endpoint: endpoint{
			service: knownPath,
			base:    text{account.name, "https://accounts.cloud.databricks.com"},
			path:    "/oidc/accounts/" + account.value + "/v1/token",
		},
		options: emptyOptions(),
	}
	d.options.scope = []string{"all-apis"}
	return d
}
