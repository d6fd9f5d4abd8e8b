package registry

// service is which service of SAP BTP issued a key; empty for native documents.
type service string

const (
	identityService service = "identity"
	xsuaaService    service = "xsuaa"
)

// readServiceKey reads a key of SAP BTP's identity or xsuaa service. Members
// that are not known are left alone: a key holds many, and SAP adds to them.
func readServiceKey(o object) *document {
	o.service = true
	d := &document{
		id: o.line("clientid", maxLine),
		credential: credential{
			secret:      o.text("clientsecret", maxSecret),
			certificate: o.text("certificate", maxDocument),
			// privateKey and tokenServiceUrl are the names in the agent
			// gateway's key file.
			key:         o.oneOf(maxDocument, "key", "privateKey"),
			keyPassword: text{name: "private_key_password beside service_key"},
			kind:        o.line("credential-type", maxLine),
		},
		place: place{
			service:         identityService,
			base:            o.text("url", maxLine),
			certificateBase: o.text("certurl", maxLine),
		},
		options: emptyOptions(),
	}
	if o.given("uaadomain") || o.given("xsappname") {
		d.place.service = xsuaaService
	}
	if !d.place.base.given() {
		d.place.endpoint = o.oneOf(maxLine, "token_url", "tokenServiceUrl")
	}
	// SAP Cloud Identity Services needs the tenant where one client serves
	// several; a login fails without it.
	if tenant := o.line("app_tid", maxLine); tenant.given() && d.place.service == identityService {
		d.options.parameters["app_tid"] = tenant.value
	}
	return d
}

// readWrapped reads a service key with native members beside it. They add what
// the key leaves open; what the key says, they must not say again.
func readWrapped(o object, envelopes int) *document {
	outer := readNative(o)
	for _, name := range []string{"token_endpoint", "issuer"} {
		if o.given(name) {
			o.report.add(o.path+name, "must not be given beside service_key, which says it")
		}
	}
	inner := readChild(o, "service_key", envelopes)
	if inner == nil {
		return nil
	}
	if inner.place.service == "" {
		o.report.add(o.path+"service_key", "must hold a key of the service identity or xsuaa")
		return nil
	}
	inner.credential.add(outer.credential, o.report)
	parameters := inner.options.parameters
	inner.options = outer.options
	for name, value := range parameters {
		// A parameter that is given empty takes the key's away.
		if _, ok := inner.options.parameters[name]; !ok {
			inner.options.parameters[name] = value
		}
	}
	return inner
}

// add fills what a service key leaves open: the private key of a certificate
// that was provided to SAP, or a credential made at the tenant itself.
func (c *credential) add(outer credential, problems *report) {
	for _, pair := range []struct{ own, given *text }{
		{&c.secret, &outer.secret},
		{&c.certificate, &outer.certificate},
		{&c.key, &outer.key},
	} {
		switch {
		case pair.own.given() && pair.given.given():
			problems.add(pair.given.name, "and "+pair.own.name+" are both given")
		case pair.given.given():
			*pair.own = *pair.given
		}
	}
	c.keyPassword, c.method = outer.keyPassword, outer.method
	c.pkcs12, c.pkcs12Password, c.keyAlias = outer.pkcs12, outer.pkcs12Password, outer.keyAlias
}
