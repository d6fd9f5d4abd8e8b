package registry

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// parse reads and checks the document of the client name, as far as that needs no network.
// It returns nil if a problem leaves no document.
func parse(name string, raw []byte, cfg Config, problems *report) *document {
	d := parseOwn(name, raw, cfg, problems)
	if d != nil && d.shadow != nil {
		d.shadow.inherit(d)
		d.shadow.check(cfg, problems)
		// The client must not end with the certificate of its shadow.
		expired := &report{}
		d.shadow.checkLeaf(cfg.Now(), expired)
		d.shadow.problem = strings.Join(expired.problems, "; ")
	}
	return d
}

// parseOwn is parse without the checks of the shadow.
func parseOwn(name string, raw []byte, cfg Config, problems *report) *document {
	d := read(raw, problems)
	if d == nil {
		return nil
	}
	d.name = name
	d.check(cfg, problems)
	if len(d.pair.Chain) > 0 {
		problems.leaf = d.pair.Chain[0]
	}
	d.checkLeaf(cfg.Now(), problems)
	return d
}

// read reads a document without the checks that more than one member is needed for.
func read(raw []byte, problems *report) *document {
	// Editors on Windows write a byte order mark.
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(raw) > maxDocument {
		problems.add("the document", "is larger than 64 KiB")
		return nil
	}
	raw = unquoted(raw)
	members, err := strictjson.Object(raw, documentLimits())
	switch {
	case err != nil && bytes.Contains(raw, []byte("kind: Secret")):
		problems.add("the document", isManifest)
		return nil
	case err != nil:
		problems.add("the document", strictjson.Problem(err, raw))
		return nil
	}
	return readDocument(object{members: members, report: problems}, 0)
}

// Key is the service key of SAP BTP in a document, for tools that have to tell the keys of several
// products apart. It holds no value.
type Key struct {
	// Service is the server that the key is for: identity (SAP Cloud Identity Services), xsuaa,
	// other (the key has the URL of its token endpoint) or unknown.
	Service string
	// Within is the member that holds the key, such as uaa; empty: it is the document itself.
	Within string
	// Members are the names of its members that are given, sorted.
	Members []string
}

// FindKey returns the service key in a document, whatever is around it. ok is false if there is
// none. The document may have problems, which [Registry.Inspect] reports.
func FindKey(raw []byte) (key Key, ok bool) {
	d := read(raw, &report{})
	if d == nil || d.key.members == nil {
		return Key{}, false
	}
	path := strings.TrimSuffix(d.key.path, ".")
	key = Key{Service: string(d.endpoint.service), Within: path[strings.LastIndexByte(path, '.')+1:]}
	for name := range d.key.members {
		if d.key.given(name) {
			key.Members = append(key.Members, name)
		}
	}
	slices.Sort(key.Members)
	return key, true
}

// unquoted returns the object in a document that is a string: Terraform's jsonencode twice.
// It returns another document as it is.
func unquoted(raw []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		return raw
	}
	// As a member of an object, the string is checked as strictly as any.
	members, err := strictjson.Object(slices.Concat([]byte(`{"document":`), raw, []byte("}")), documentLimits())
	text, ok := strictjson.String(members["document"])
	if err != nil || !ok || len(members) != 1 || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return raw
	}
	return []byte(text)
}

// check reports the problems of a document that more than one member is needed to find.
func (d *document) check(cfg Config, problems *report) {
	d.credential.spread()
	d.method = d.credential.chooseMethod(problems)
	bySecret := d.method == oauth.ClientSecretPost || d.method == oauth.ClientSecretBasic
	if bySecret {
		d.credential.checkSecret(problems)
	}
	switch {
	case d.method == oauth.AWSWebIdentity:
		d.checkWebIdentity(cfg.Identity != nil && len(cfg.Audiences) > 0, problems)
	case !bySecret, d.showsCertificate():
		// The key is also read if the method is not known, so that its problems are reported
		// together with the others.
		d.pair = d.credential.readPair(problems)
		d.checkPair(problems)
		d.makeSigner(problems)
	}
	d.checkUnused(problems)
	d.checkDialect(problems)
	d.checkKeyAlias(cfg, problems)
	d.checkID(problems)
	d.tokenEndpoint, d.issuer = d.endpoint.find(d.method, cfg.Addresses, problems)
}

// checkPair reports keys and certificates that the method needs and the document lacks.
func (d *document) checkPair(problems *report) {
	c := d.credential
	if !c.key.given() && !c.pkcs12.given() && !c.keyAlias.given() && d.method != "" {
		more := ""
		if d.isServiceKey() {
			more = ": where SAP never had it (X509_PROVIDED), give it as private_key beside service_key"
		}
		problems.missing(c.key.name, more)
	}
	if !c.certificate.given() && !c.pkcs12.given() && d.showsCertificate() {
		problems.missing(c.certificate.name, "")
	}
	// A server that refuses the certificate may count a failed logon.
	if len(d.pair.Chain) > 0 && d.showsCertificate() {
		if err := keypair.CheckClient(d.pair.Chain[0]); err != nil {
			problems.add(d.credential.certificateMember().name, err.Error())
		}
	}
}

// checkUnused reports native members of the credential that the method does not use. Their
// author may believe that they protect the client. A service key of SAP may have both a secret
// and a certificate, and credential-type says which one counts.
func (d *document) checkUnused(problems *report) {
	if d.method == "" {
		return
	}
	for name := range d.native.members {
		if !d.native.given(name) || uses(d, name) {
			continue
		}
		more := ""
		if name == "certificate" || name == "pkcs12" {
			more = ": remove it, or let certificate_bound be allow if the server wants it in the handshake"
		}
		problems.add(d.native.path+name, "is not used by "+string(d.method)+more)
	}
}

// uses reports whether the method of d uses a native member. It is true for those that are not of
// the credential, and for those that checkWebIdentity reports.
func uses(d *document, name string) bool {
	identity := d.method == oauth.AWSWebIdentity
	switch name {
	case "client_secret":
		return d.method == oauth.ClientSecretPost || d.method == oauth.ClientSecretBasic || identity
	case "basic_encoding":
		// The shadow inherits it.
		return d.method == oauth.ClientSecretBasic || d.shadow != nil
	case "alg", "assertion_audience", "assertion_lifetime":
		return d.method == oauth.PrivateKeyJWT || identity
	case "kid", "assertion_type_header", "assertion_thumbprint":
		return d.method == oauth.PrivateKeyJWT
	case "certificate", "private_key", "private_key_password", "pkcs12", "pkcs12_password":
		return d.method == oauth.PrivateKeyJWT || d.showsCertificate() || identity
	}
	return true
}

// checkLeaf reports why the certificate cannot be used at the time now.
func (d *document) checkLeaf(now time.Time, problems *report) {
	if len(d.pair.Chain) == 0 {
		return
	}
	for _, err := range keypair.CheckLeaf(d.pair.Chain, now) {
		problems.add(d.credential.certificateMember().name, err.Error())
	}
}

// checkID checks the client identifier (RFC 6749 section 2.2).
func (d *document) checkID(problems *report) {
	switch {
	case !d.id.given():
		problems.missing(d.id.name, "")
	case strings.TrimSpace(d.id.value) != d.id.value:
		problems.add(d.id.name, "begins or ends with a blank")
	case strings.ContainsFunc(d.id.value, isInvisible):
		problems.add(d.id.name, "holds an invisible character")
	case isPlaceholder(d.id.value):
		problems.add(d.id.name, "is a placeholder: put the value in its place")
	case d.method == oauth.ClientSecretBasic && d.basicEncoding() == oauth.BasicRaw && strings.Contains(d.id.value, ":"):
		problems.add(d.id.name, "holds a colon, which basic_encoding raw cannot carry")
	}
}
