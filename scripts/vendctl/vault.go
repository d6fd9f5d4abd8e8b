package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// vault is where the clients' documents and the policy are.
type vault struct {
	api *secretsmanager.Client
	aws aws.Config
	// prefix and a client's name are the name of its secret; key encrypts new ones (empty: the
	// default key of the service).
	prefix, key string
	// aliases is what stands before a client's name in the alias of its key in KMS.
	aliases string
	// audiences are those for which documents may have the vendor prove its identity.
	audiences []string
	// policy is the name of the policy's secret; empty: there is none.
	policy string
	// proxy connects to authorization servers; nil: there is none.
	proxy *oauth.Proxy
}

// newVault returns a vault without the names of a stack. EGRESS_PROXY means what it means to the
// function.
func newVault(cfg aws.Config) (*vault, error) {
	v := &vault{api: secretsmanager.NewFromConfig(cfg), aws: cfg}
	if proxy := os.Getenv("EGRESS_PROXY"); proxy != "" {
		var err error
		if v.proxy, err = oauth.ParseProxy(proxy); err != nil {
			return nil, usage("EGRESS_PROXY must be the http or https URL of a proxy with a host and a port")
		}
	}
	return v, nil
}

// openVault returns the secrets of the stack.
func (a *access) openVault(ctx context.Context) (*vault, error) {
	if a.local != "" {
		s, err := a.readStack()
		if err != nil {
			return nil, err
		}
		v, err := newVault(s.aws())
		if err != nil {
			return nil, err
		}
		if v.prefix = s.ClientSecretPrefix; s.PolicyMode != "iam" { // else the secret has no effect
			v.policy = s.PolicySecret
		}
		return v, nil
	}
	if a.stack == "" {
		return nil, errNoStack("whose clients?")
	}
	cfg, err := a.aws(ctx)
	if err != nil {
		return nil, err
	}
	outputs, err := a.outputs(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if outputs["ClientSecretPrefix"] == "" {
		return nil, a.missing("output ClientSecretPrefix, so that it is no token vendor")
	}
	v, err := newVault(cfg)
	if err != nil {
		return nil, err
	}
	v.prefix, v.key, v.aliases, v.policy = outputs["ClientSecretPrefix"], outputs["SecretsKeyArn"], outputs["SigningKeyAliases"], outputs["PolicySecret"]
	v.audiences = strings.FieldsFunc(outputs["WebIdentityAudiences"], func(r rune) bool { return r == ',' || r == ' ' })
	return v, nil
}

// refused returns the error of Secrets Manager without its text, which may hold ARNs.
func refused(what string, err error) error {
	var failure smithy.APIError
	switch {
	case !errors.As(err, &failure):
		return fmt.Errorf("%s: Secrets Manager cannot be asked: check the credentials and the network", what)
	case failure.ErrorCode() == "ResourceNotFoundException":
		return fmt.Errorf("%s: %w: there is no such secret", what, errNotFound)
	}
	return fmt.Errorf("%s: Secrets Manager answers %s", what, failure.ErrorCode())
}

// registry returns a registry that reads documents from r.
func (v *vault) registry(r secret.Reader) *registry.Registry {
	return registry.New(registry.Config{
		Secrets: r, Prefix: v.prefix, Addresses: oauth.AddressPolicy{Private: true, Proxy: v.proxy},
		Keys: inAWS{}, KeyAliases: v.aliases, Identity: inAWS{}, Audiences: v.audiences,
	})
}

// listed is a row of client list.
type listed struct {
	Name     string     `json:"name"`
	Changed  *time.Time `json:"changed,omitempty"`
	Accessed *time.Time `json:"accessed,omitempty"` // the day
}

// list returns the clients whose names begin with a text.
func (v *vault) list(ctx context.Context, begin string) ([]listed, error) {
	all := []listed{}
	pages := secretsmanager.NewListSecretsPaginator(v.api, &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{v.prefix + begin}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, refused("the clients", err)
		}
		for _, s := range page.SecretList {
			if name, ok := strings.CutPrefix(aws.ToString(s.Name), v.prefix); ok && registry.ValidName(name) {
				all = append(all, listed{name, s.LastChangedDate, s.LastAccessedDate})
			}
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// read returns the current version of a client's secret.
func (v *vault) read(ctx context.Context, name string) (secret.Secret, error) {
	got, err := v.api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(v.prefix + name)})
	if err != nil {
		return secret.Secret{}, refused("client "+name, err)
	}
	text := got.SecretBinary
	if got.SecretString != nil {
		text = []byte(*got.SecretString)
	}
	return secret.Secret{Text: text, Version: aws.ToString(got.VersionId), Created: aws.ToTime(got.CreatedDate)}, nil
}

func fixed(s secret.Secret) secret.Reader {
	return secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) { return s, nil })
}

// versions returns the versions of a client's secret with the labels AWSCURRENT and AWSPREVIOUS.
func (v *vault) versions(ctx context.Context, name string) (current, previous string, err error) {
	if current, previous, err = v.labels(ctx, v.prefix+name); err != nil {
		err = refused("client "+name, err)
	}
	return current, previous, err
}

// warnIfUnknown warns if there is no client of a name, which may be mistyped. A user who may not ask gets
// no warning.
func (v *vault) warnIfUnknown(cmd *cobra.Command, name string) {
	if _, _, err := v.versions(cmd.Context(), name); errors.Is(err, errNotFound) {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "vendctl: warning: there is no client %s now: check the name\n", name)
	}
}

// labels returns the versions of a secret with the labels AWSCURRENT and AWSPREVIOUS.
func (v *vault) labels(ctx context.Context, secretName string) (current, previous string, err error) {
	got, err := v.api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &secretName})
	if err != nil {
		return "", "", err
	}
	for version, labels := range got.VersionIdsToStages {
		switch {
		case slices.Contains(labels, "AWSCURRENT"):
			current = version
		case slices.Contains(labels, "AWSPREVIOUS"):
			previous = version
		}
	}
	return current, previous, nil
}

// move moves AWSCURRENT from one version to another. It fails if the first one does not have it any
// more.
func (v *vault) move(ctx context.Context, name, from, to string) error {
	_, err := v.api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &name, VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: &from, MoveToVersionId: &to,
	})
	if err == nil {
		return nil
	}
	// If an answer is lost, the SDK repeats the call, which fails because the label has moved already.
	current, _, unknown := v.labels(ctx, name)
	var failure smithy.APIError
	answered := errors.As(err, &failure)
	switch {
	case unknown == nil && current == to:
		return nil
	case answered && failure.ErrorCode() == "InvalidParameterException":
		return errors.New("somebody else has changed the secret meanwhile: look again")
	case !answered && unknown != nil:
		return fmt.Errorf("%w; if only an answer was lost, the change has been made: find that out before you repeat it", refused("the version", err))
	}
	return refused("the version", err)
}

// errInAWS is the error of a document whose credential is in AWS.
var errInAWS = errors.New("the document names a key in KMS, or the identity of the vendor's role: only the vendor can use these")

// inAWS stands for keys in KMS and the identity of the vendor's role. Their packages would take
// megabytes of memory, also from vendctl serve.
type inAWS struct{}

// Public implements [registry.SigningKeys].
func (inAWS) Public(context.Context, string) (crypto.PublicKey, []string, error) {
	return nil, nil, errInAWS
}

// Sign implements [registry.SigningKeys].
func (inAWS) Sign(context.Context, string, string, []byte) ([]byte, error) { return nil, errInAWS }

// Issue implements [registry.WebIdentity].
func (inAWS) Issue(context.Context, registry.WebIdentityRequest) (oauth.Secret, error) {
	return oauth.Secret{}, errInAWS
}
