package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/strictjson"
)

// parts are the flags of client add that say what a document holds. A secret is in a file, because
// other users see the arguments of a program.
type parts struct {
	// Names of files; "-" is standard input.
	serviceKey, pem, key, keyPassword, p12, p12Password, secret, authorities string

	clientID, issuer, tokenURL, method, audience string
	scope, resource                              []string
	sap, tenant                                  string
}

func (p *parts) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&p.serviceKey, "service-key", "", "file of a service key, or of a document")
	flags.StringVar(&p.pem, "pem", "", "file of the certificate and its chain in PEM, which may hold the key too")
	flags.StringVar(&p.key, "key", "", "file of the private key in PEM or as a JWK")
	flags.StringVar(&p.keyPassword, "key-password-file", "", "file of the password of --key")
	flags.StringVar(&p.p12, "p12", "", "file of a certificate and its key (PKCS #12)")
	flags.StringVar(&p.p12Password, "p12-password-file", "", "file of the password of --p12")
	flags.StringVar(&p.secret, "secret-file", "", "file of the client secret")
	flags.StringVar(&p.authorities, "ca", "", "file of the server's authorities in PEM, instead of the system's")
	flags.StringVar(&p.clientID, "client-id", "", "the client at the authorization server")
	flags.StringVar(&p.issuer, "issuer", "", "URL of the authorization server, whose metadata or product tell the token endpoint")
	flags.StringVar(&p.tokenURL, "token-url", "", "URL of the token endpoint")
	flags.StringVar(&p.method, "method", "", "how the client authenticates, if the credential does not tell: "+strings.Join(methods(), ", "))
	flags.StringArrayVar(&p.scope, "scope", nil, "scope of the tokens; may be repeated")
	flags.StringArrayVar(&p.resource, "resource", nil, "resource of the tokens (RFC 8707); may be repeated")
	flags.StringVar(&p.audience, "audience", "", "audience of the tokens")
	flags.StringVar(&p.sap, "sap", "", "product of SAP that the service key, or the tenant, must be of")
	flags.StringVar(&p.tenant, "tenant", "", "with --sap and without a service key, the host of the tenant, such as acme.accounts.ondemand.com")
}

// methods are those that a secret, a certificate or a key can be used by.
func methods() (names []string) {
	for _, method := range []oauth.Method{oauth.ClientSecretPost, oauth.ClientSecretBasic, oauth.TLSClientAuth, oauth.SelfSignedTLSClientAuth, oauth.PrivateKeyJWT} {
		names = append(names, string(method))
	}
	return names
}

// partFile is a file whose content becomes a member.
type partFile struct{ flag, member, name string }

func (p *parts) files() []partFile {
	return slices.DeleteFunc([]partFile{
		{"pem", "certificate", p.pem}, {"key", "private_key", p.key}, {"key-password-file", "private_key_password", p.keyPassword},
		{"p12", "pkcs12", p.p12}, {"p12-password-file", "pkcs12_password", p.p12Password}, {"secret-file", "client_secret", p.secret},
		{"ca", "ca_certificates", p.authorities}, {"service-key", "service_key", p.serviceKey},
	}, func(f partFile) bool { return f.name == "" })
}

// check reports mistakes on the command line, before a file is read.
func (p *parts) check() error {
	input := 0
	for _, f := range p.files() {
		if f.name == "-" {
			input++
		}
	}
	tenant, err := p.checkProduct()
	switch {
	case input > 1:
		return usage("standard input can be read for one of the flags only")
	case p.serviceKey+p.pem+p.key+p.p12+p.secret == "":
		return usage("what is the client's credential? Give --service-key, --pem, --p12, --key or --secret-file")
	case err != nil:
		return err
	case p.tenant != "" && !tenant:
		return usage("--tenant is for --sap without a service key")
	case strings.ContainsAny(p.tenant, "/@?#% "):
		return usage("--tenant must be a host, such as acme.accounts.ondemand.com")
	case tenant && p.issuer+p.tokenURL != "":
		return usage("--sap says what --issuer and --token-url would: give one of them")
	}
	return nil
}

// checkProduct reports a product that does not fit the other flags. tenant says that the product's
// server is meant, and not a key.
func (p *parts) checkProduct() (tenant bool, err error) {
	if p.sap == "" {
		return false, nil
	}
	found, err := findProduct(p.sap)
	if err != nil {
		return false, err
	}
	_, hasKey := found.key()
	server, hasServer := found.server()
	switch {
	case p.serviceKey != "" && !hasKey:
		return false, usage("--sap: %s has no service keys: give --client-id and --secret-file", found.title)
	case p.serviceKey != "":
		return false, nil
	case !hasServer:
		return false, usage("--sap: a client of %s needs --service-key", found.title)
	case p.tenant == "" && server.host == "":
		return false, usage("--sap: --service-key or --tenant is missing")
	case p.sap == "xsuaa" && p.pem+p.p12 != "" && strings.Contains(p.tenant, ".authentication.") && !strings.Contains(p.tenant, ".authentication.cert."):
		return false, usage("--tenant: XSUAA takes certificates at the host of certurl only (authentication.cert.)")
	}
	return true, nil
}

// document returns the document, and the problems that it does not show.
func (p *parts) document(cmd *cobra.Command) (text []byte, problems []string, err error) {
	members := make(map[string]any)
	var failures []error
	for _, f := range p.files() {
		raw, err := f.read(cmd)
		switch {
		case err != nil:
			failures = append(failures, fmt.Errorf("--%s: %w", f.flag, err))
		case f.member == "service_key":
			text = raw
		case len(bytes.TrimSpace(raw)) == 0 && !strings.HasSuffix(f.member, "_password"):
			problems = append(problems, f.member+" is empty: there is nothing in the file of --"+f.flag)
		case f.member == "pkcs12":
			members[f.member] = base64.StdEncoding.EncodeToString(raw)
		case !utf8.Valid(raw):
			problems = append(problems, f.member+" is not text: a file in PEM or UTF-8 is wanted")
		case f.member == "certificate" || f.member == "ca_certificates" || f.member == "private_key":
			members[f.member] = string(raw)
		default:
			members[f.member] = withoutLineEnd(string(raw))
		}
	}
	if len(failures) > 0 {
		return nil, nil, errors.Join(failures...)
	}
	p.addMembers(members)
	if p.serviceKey != "" {
		return p.wrap(text, members, problems)
	}
	if p.clientID == "" {
		problems = append(problems, "client_id is missing")
		members["client_id"] = "missing" // without it, no other problem would be found
	}
	text, err = json.MarshalIndent(members, "", " ")
	return text, problems, err
}

// withoutLineEnd removes the end of a last line, which editors add to a secret.
func withoutLineEnd(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// addMembers adds the members that are no credentials.
func (p *parts) addMembers(members map[string]any) {
	issuer, tokenURL, method := p.issuer, p.tokenURL, p.method
	if tenant, _ := p.checkProduct(); tenant {
		found, _ := findProduct(p.sap)
		server, _ := found.server()
		base := "https://" + cmp.Or(p.tenant, server.host)
		tokenURL = base + server.path
		if p.sap == "identity" {
			issuer = base // the audience of assertions
		}
		if p.secret != "" {
			method = cmp.Or(method, server.method)
		}
	}
	for name, value := range map[string]string{
		"client_id": p.clientID, "issuer": issuer, "token_endpoint": tokenURL, "token_endpoint_auth_method": method,
		"scope": strings.Join(p.scope, " "), "audience": p.audience,
	} {
		if value != "" {
			members[name] = value
		}
	}
	if len(p.resource) > 0 {
		members["resource"] = p.resource
	}
}

// wrap returns a service key with the members beside it, if there are any, and what shows that it is
// of another product.
func (p *parts) wrap(key []byte, members map[string]any, problems []string) ([]byte, []string, error) {
	if p.sap != "" {
		found, err := findProduct(p.sap)
		if err != nil {
			return nil, nil, err
		}
		problems = append(problems, found.missing(key)...)
	}
	raw := bytes.TrimPrefix(key, []byte("\xef\xbb\xbf"))
	given, ok := membersOf(raw)
	if len(members) == 0 || !ok {
		return key, problems, nil // what is wrong with it is found later
	}
	if given["service_key"] == nil && given["client_id"] == nil {
		given = map[string]json.RawMessage{"service_key": raw}
	}
	for name, value := range given {
		if members[name] != nil {
			problems = append(problems, name+" is given by a flag and in the file")
		}
		members[name] = value
	}
	text, err := json.Marshal(members)
	return text, problems, err
}

// membersOf returns the members of a document; none: it is a string that holds one. ok is false if it
// is neither.
func membersOf(raw []byte) (members map[string]json.RawMessage, ok bool) {
	// As the vendor, without what encoding/json would mend.
	members, err := strictjson.Object(raw, strictjson.Limits{Depth: 16, Members: 2048})
	return members, err == nil || json.Valid(raw) && bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`))
}

func newClientAdd(a *access) *cobra.Command {
	var p parts
	untried := false
	cmd := &cobra.Command{
		Use:   "add NAME [FILE]",
		Short: "Add a client, after a token was obtained with its credential",
		Long:  addHelp(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("got %d arguments, want the name of a client, and perhaps a file", len(args))
			}
			if len(args) == 2 {
				if p.serviceKey != "" {
					return usage("FILE and --service-key are both given")
				}
				p.serviceKey = args[1]
			}
			return errors.Join(clientNames(args[:1]), p.check())
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.openVault(cmd.Context())
			if err != nil {
				return err
			}
			text, problems, err := p.document(cmd)
			if err != nil {
				return err
			}
			return withFlags(v.add(cmd, args[0], text, problems, !untried, a.output))
		},
	}
	p.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&untried, "untried", false, "create the secret without a token")
	for flag, values := range map[string][]string{"sap": productNames(), "method": methods()} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic("internal error: " + err.Error())
		}
	}
	return cmd
}

func addHelp() string {
	var b strings.Builder
	b.WriteString("add makes a document of the flags, asks the authorization server for one token, and only then creates the client's secret. A client\n" +
		"that exists is not changed. FILE is that of --service-key. For each file - is standard input. The end of the last line of a secret\n" +
		"or a password is not part of it. EGRESS_PROXY is the URL of a proxy to the authorization server, as for the function.\n\n" +
		"  client add shop --service-key key.json --sap identity\n" +
		"  client add shop --sap identity --tenant acme.accounts.ondemand.com --client-id ID --secret-file secret\n" +
		"  client add shop --pem chain.pem --key key.pem --client-id ID --issuer https://acme.accounts.ondemand.com\n" +
		"  client add shop --p12 store.p12 --p12-password-file - --client-id ID --token-url https://as.example.com/token --method private_key_jwt\n" +
		"  client add shop --service-key key.json --key key.pem      (the key of a certificate that SAP never had)\n\n" +
		"A FILE that names a key in KMS, or the identity of the vendor's role, needs --untried; client reread then has the vendor try it.\n" +
		"With --sap, a service key of another product is refused, and the error names the members that are missing. Products, * with --tenant:\n")
	for _, p := range products() {
		mark := " "
		if _, ok := p.server(); ok {
			mark = "*"
		}
		fmt.Fprintf(&b, "\n %s %-19s %s", mark, p.name, p.title)
	}
	return b.String()
}

func (v *vault) add(cmd *cobra.Command, name string, text []byte, problems []string, try bool, output string) error {
	ctx := cmd.Context()
	// Secrets Manager adds a hyphen and six characters to ARNs, which such names resemble.
	if at := strings.LastIndexByte(name, '-'); at >= 0 && len(name)-at == len("-abcdef") {
		return usage("the name must not end in a hyphen and six characters: some tools take these for the end of an ARN")
	}
	exists := errors.New("client " + name + " exists already")
	if _, err := v.read(ctx, name); err == nil || !errors.Is(err, errNotFound) {
		return cmp.Or(err, exists)
	}
	s := secret.Secret{Text: text}
	if len(problems) > 0 {
		var bad badDocument
		if err := v.inspect(ctx, name, s); err != nil && !errors.As(err, &bad) {
			return err
		}
		all := append(problems, bad.problems...)
		slices.Sort(all)
		return badDocument{slices.Compact(all)}
	}
	c, err := v.check(ctx, name, s, try)
	switch {
	case errors.Is(err, errInAWS) && try:
		return fmt.Errorf("client %s: %w: add it with --untried, and try it with client reread", name, err)
	case errors.Is(err, errInAWS):
		c = &registry.Client{Name: name} // all that can be known of it here
	case err != nil:
		return err
	}
	in := &secretsmanager.CreateSecretInput{Name: aws.String(v.prefix + name), SecretString: aws.String(string(text))}
	if v.key != "" {
		in.KmsKeyId = &v.key
	}
	created, err := v.api.CreateSecret(ctx, in)
	var meanwhile *types.ResourceExistsException
	if errors.As(err, &meanwhile) {
		return exists
	}
	if err != nil {
		return refused("client "+name, err)
	}
	c.Version = aws.ToString(created.VersionId)
	return printClient(cmd.OutOrStdout(), c, output)
}
