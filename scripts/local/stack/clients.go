package main

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/policy"
)

// firstClient is the client whose token is printed. The second principal may use no other
// client.
const firstClient = "demo"

// The spare client is registered at the authorization server but has no secret in Secrets
// Manager, so that it can be added by hand.
const (
	spareClient = "mine"
	spareID     = "my-client-id"
	spareSecret = "Sp@re: /+%&=ü" // #nosec G101 -- valid for the local stack only; the characters need encoding
)

// client is a seeded client.
type client struct {
	name, format, method string
	register             oauthtest.Client
	document             map[string]any
}

// seed registers one client of each kind and stores its document. Clients of the kept state
// are registered as they were.
func (s *stack) seed() error {
	plain := func(name string) func() (client, error) {
		return func() (client, error) { return s.plain(name) }
	}
	for _, make := range []struct {
		name   string
		client func() (client, error)
	}{
		{firstClient, plain(firstClient)}, {"billing", plain("billing")}, {"orders", plain("orders")}, {"basic", s.basic},
		{"sap-identity", s.identityKey}, {"sap-xsuaa", s.xsuaaKey}, {"sap-certificate", s.certificate}, {"own-certificate", s.selfSigned},
		{"assertion", s.assertion}, {"kms-key", s.signingKey}, {"no-credential", s.webIdentity},
	} {
		c, ok, err := s.kept.client(make.name, s.identity)
		if !ok && err == nil {
			c, err = make.client()
			c.name = make.name
		}
		if err == nil && !ok {
			err = s.store(c)
		}
		if err != nil {
			return err
		}
		s.issuer.Register(c.register)
		s.clients = append(s.clients, c)
	}
	// The samples of events deliver a token into this secret, which has no value yet.
	if target := tokensPrefix + "billing"; !s.secrets.Has(target) {
		if _, err := s.secrets.Seed(target, ""); err != nil {
			return err
		}
	}
	return s.writeSpare()
}

// store stores a client's document.
func (s *stack) store(c client) error {
	text, err := json.Marshal(c.document)
	if err == nil {
		_, err = s.secrets.Seed(prefix+c.name, string(text))
	}
	return err
}

// tokensPrefix precedes the names of secrets that tokens are delivered to.
const tokensPrefix = "token-vendor/tokens/" // #nosec G101 -- a name

func (s *stack) ca() string { return string(s.issuer.CAPEM()) }

// secret returns a random secret with the special characters of SAP's generated secrets.
func secret() string { return rand.Text() + "][?:/=._-:" }

func (s *stack) plain(name string) (client, error) {
	c := client{format: "native", method: "client_secret_post"}
	password := secret()
	c.register = oauthtest.Client{ID: name + "-client", Methods: []string{c.method}, Secrets: []string{password}}
	c.document = map[string]any{
		"token_endpoint": s.issuer.TokenEndpoint(), "client_id": c.register.ID, "client_secret": password, "ca_certificates": s.ca(),
		"allow_parameters": []string{"scope"}, // also for orders
	}
	return c, nil
}

func (s *stack) basic() (client, error) {
	c := client{format: "native, issuer's metadata", method: "client_secret_basic"}
	password := secret()
	c.register = oauthtest.Client{ID: "basic client", Methods: []string{c.method}, Secrets: []string{password}}
	c.document = map[string]any{
		"issuer": s.issuer.Issuer(), "client_id": c.register.ID, "client_secret": password, "ca_certificates": s.ca(),
		"token_endpoint_auth_method": c.method,
	}
	return c, nil
}

// identityKey is a service key as SAP BTP creates it, wrapped to add the CA of this
// machine's server.
func (s *stack) identityKey() (client, error) {
	c := client{format: "SAP BTP identity key (secret)", method: "client_secret_post"}
	password := secret()
	c.register = oauthtest.Client{ID: rand.Text(), Methods: []string{c.method}, Secrets: []string{password}, AppTID: "tenant-1"}
	c.document = s.wrapped(map[string]any{
		"clientid": c.register.ID, "clientsecret": password, "credential-type": "SECRET",
		"url": s.issuer.URL() + "/", "domain": "accounts.ondemand.com", "app_tid": c.register.AppTID,
	})
	return c, nil
}

func (s *stack) xsuaaKey() (client, error) {
	c := client{format: "SAP BTP xsuaa key (secret)", method: "client_secret_post"}
	password := secret()
	c.register = oauthtest.Client{ID: "sb-shop!t1|x", Methods: []string{c.method}, Secrets: []string{password}}
	c.document = s.wrapped(map[string]any{
		"clientid": c.register.ID, "clientsecret": password, "credential-type": "binding-secret",
		"url": s.issuer.URL(), "uaadomain": "authentication.sap.hana.ondemand.com", "xsappname": "shop!t1",
	})
	return c, nil
}

// certificate is an identity key with a generated certificate. Its chain has a leaf and an
// intermediate; the server knows only the root.
func (s *stack) certificate() (client, error) {
	c := client{format: "SAP BTP identity key (certificate)", method: "tls_client_auth"}
	intermediate, err := s.issuer.CA().Intermediate("oauthtest clients")
	if err != nil {
		return c, err
	}
	issued, err := intermediate.Issue(oauthtest.Leaf{CommonName: "local"})
	if err != nil {
		return c, err
	}
	key, err := oauthtest.KeyPEM(issued.Key)
	if err != nil {
		return c, err
	}
	c.register = oauthtest.Client{ID: rand.Text(), Methods: []string{c.method}, SubjectDN: issued.Chain[0].Subject.String()}
	c.document = s.wrapped(map[string]any{
		"clientid": c.register.ID, "credential-type": "X509_GENERATED", "url": s.issuer.URL(), "domains": []string{"accounts.ondemand.com"},
		"certificate": oauthtest.CertificatePEM(issued.Chain...), "key": key,
	})
	return c, nil
}

func (s *stack) selfSigned() (client, error) {
	c := client{format: "native", method: "self_signed_tls_client_auth"}
	issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "self"})
	if err != nil {
		return c, err
	}
	key, err := oauthtest.KeyPEM(issued.Key)
	if err != nil {
		return c, err
	}
	c.register = oauthtest.Client{ID: "self-signed-client", Methods: []string{c.method}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])}
	c.document = map[string]any{
		"token_endpoint": s.issuer.TokenEndpoint(), "client_id": c.register.ID, "ca_certificates": s.ca(),
		"token_endpoint_auth_method": c.method, "certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": key,
	}
	return c, nil
}

func (s *stack) assertion() (client, error) {
	c := client{format: "native", method: "private_key_jwt"}
	key, err := oauthtest.NewKey(oauthtest.RSA2048)
	if err != nil {
		return c, err
	}
	text, err := oauthtest.KeyPEM(key)
	if err != nil {
		return c, err
	}
	c.register = oauthtest.Client{ID: "assertion-client", Methods: []string{c.method}, Keys: map[string]crypto.PublicKey{"k1": key.Public()}}
	c.document = map[string]any{
		"issuer": s.issuer.Issuer(), "client_id": c.register.ID, "ca_certificates": s.ca(), "private_key": text, "kid": "k1",
	}
	return c, nil
}

// signingKey is a client whose private key is in KMS.
func (s *stack) signingKey() (client, error) {
	c := client{format: "native, key in KMS", method: "private_key_jwt"}
	alias := "token-vendor/kms-key"
	if _, err := s.keys.AddKey("ECC_NIST_P256", alias); err != nil {
		return c, err
	}
	public, err := s.keys.Public("alias/" + alias)
	if err != nil {
		return c, err
	}
	c.register = oauthtest.Client{ID: "kms-client", Methods: []string{c.method}, Keys: map[string]crypto.PublicKey{"k1": public}}
	c.document = map[string]any{
		"issuer": s.issuer.Issuer(), "client_id": c.register.ID, "ca_certificates": s.ca(), "kms_key_id": "alias/" + alias, "kid": "k1",
	}
	return c, nil
}

// clientTag is the tag with the client's name in a token of STS.
const clientTag = "token-vendor-client"

// webIdentity is a client without a credential: it trusts tokens that STS issues to the
// function's role.
func (s *stack) webIdentity() (client, error) {
	c := client{format: "native, without a credential", method: "aws_web_identity"}
	c.register = oauthtest.Client{ID: "trusted-client", Methods: []string{"private_key_jwt"}, Trust: trust(s.identity, "no-credential")}
	c.document = map[string]any{
		"issuer": s.issuer.Issuer(), "client_id": c.register.ID, "ca_certificates": s.ca(), "token_endpoint_auth_method": c.method,
	}
	return c, nil
}

// trust returns the trust in the tokens of STS for a client.
func trust(identity *sts.Server, name string) *oauthtest.Trust {
	return &oauthtest.Trust{Issuer: identity.Issuer(), Subject: identity.Subject(), Keys: identity.Keys(), Tags: map[string]string{clientTag: name}}
}

// checkPolicy parses the file of the policy, because a broken policy refuses every caller.
func (s *stack) checkPolicy() error {
	if s.policyMode = "iam"; s.policy == "" {
		return nil
	}
	s.policyMode = "document"
	text, err := os.ReadFile(s.policy)
	if err != nil {
		return err
	}
	if _, err := policy.Parse(text); err != nil {
		return fmt.Errorf("%s: %w", s.policy, err)
	}
	return nil
}

// seedPolicy stores the policy of the file.
func (s *stack) seedPolicy() error {
	if s.policy == "" {
		return nil
	}
	text, err := os.ReadFile(s.policy)
	if err != nil {
		return err
	}
	_, err = s.secrets.Seed(policyName, string(text))
	return err
}

func (s *stack) wrapped(key map[string]any) map[string]any {
	return map[string]any{"service_key": key, "ca_certificates": s.ca()}
}

func (s *stack) sparePath() string { return filepath.Join(s.dir.Path(), spareClient+".json") }

// directPath returns the path of an event for a direct invoke. It is a file because
// versions 1 and 2 of the AWS CLI read a payload on the command line differently.
func (s *stack) directPath() string { return filepath.Join(s.dir.Path(), "direct.json") }

func (s *stack) writeSpare() error {
	if err := os.WriteFile(s.directPath(), []byte(`{"client": "`+firstClient+`"}`), 0o600); err != nil {
		return err
	}
	s.issuer.Register(oauthtest.Client{ID: spareID, Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{spareSecret}})
	text, err := json.MarshalIndent(map[string]any{
		"token_endpoint": s.issuer.TokenEndpoint(), "client_id": spareID, "client_secret": spareSecret, "ca_certificates": s.ca(),
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.sparePath(), text, 0o600)
}
