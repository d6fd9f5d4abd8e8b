package awsapi

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

const (
	// signTimeout is for one call of KMS with its retry. It is short, because signing is a
	// step of an exchange, for which a caller waits.
	signTimeout  = 2 * time.Second
	signAttempts = 2
)

// SigningKeys are asymmetric KMS keys. It implements [registry.SigningKeys] and is safe for
// concurrent use.
type SigningKeys struct {
	// client makes the client at its first call, because most deployments have no such key.
	client func() *kms.Client
}

// NewSigningKeys returns the keys of cfg's account and region.
func NewSigningKeys(cfg aws.Config) *SigningKeys {
	cfg.HTTPClient = withTimeout(cfg.HTTPClient, signTimeout/signAttempts)
	return &SigningKeys{client: sync.OnceValue(func() *kms.Client {
		return kms.NewFromConfig(cfg, func(o *kms.Options) { o.RetryMaxAttempts = signAttempts })
	})}
}

// specs returns the algorithms of KMS by their JWS names.
func specs() map[string]types.SigningAlgorithmSpec {
	return map[string]types.SigningAlgorithmSpec{
		"RS256": types.SigningAlgorithmSpecRsassaPkcs1V15Sha256,
		"RS384": types.SigningAlgorithmSpecRsassaPkcs1V15Sha384,
		"RS512": types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
		"PS256": types.SigningAlgorithmSpecRsassaPssSha256, // with a salt as long as the hash, as the next two
		"PS384": types.SigningAlgorithmSpecRsassaPssSha384,
		"PS512": types.SigningAlgorithmSpecRsassaPssSha512,
		"ES256": types.SigningAlgorithmSpecEcdsaSha256,
		"ES384": types.SigningAlgorithmSpecEcdsaSha384,
		"ES512": types.SigningAlgorithmSpecEcdsaSha512,
		"EdDSA": types.SigningAlgorithmSpecEd25519Sha512,
	}
}

// Public implements [registry.SigningKeys].
func (k *SigningKeys) Public(ctx context.Context, alias string) (public crypto.PublicKey, algorithms []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	out, err := k.client().GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &alias})
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("kms: %w: %w", secret.ErrUnavailable, ctx.Err())
		}
		return nil, nil, classified("kms", err, registry.ErrNoKey, noKey)
	}
	public, err = x509.ParsePKIXPublicKey(out.PublicKey)
	switch {
	case len(out.PublicKey) == 0:
		return nil, nil, fmt.Errorf("kms: %w (no key in the answer)", secret.ErrUnavailable)
	case out.KeyUsage != types.KeyUsageTypeSignVerify:
		return nil, nil, fmt.Errorf("kms: %w", registry.ErrNoKey)
	case err != nil:
		// The curve is one that Go does not know, such as secp256k1. The registry reports the
		// key as not supported.
		return struct{}{}, nil, nil
	}
	for name, spec := range specs() {
		if slices.Contains(out.SigningAlgorithms, spec) {
			algorithms = append(algorithms, name)
		}
	}
	return public, algorithms, nil
}

// noKey reports whether KMS returns code for an alias without a key that can sign.
func noKey(code string) bool {
	return code == "NotFoundException" || code == "UnsupportedOperationException" || code == "InvalidKeyUsageException"
}

// Sign implements [registry.SigningKeys]. KMS gets the digest only, for EdDSA the message, and
// returns an ECDSA signature in DER. The error wraps [oauth.ErrTemporary] if a later call may
// succeed.
func (k *SigningKeys) Sign(ctx context.Context, alias, algorithm string, digest []byte) ([]byte, error) {
	form := types.MessageTypeDigest
	if algorithm == "EdDSA" {
		form = types.MessageTypeRaw
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	out, err := k.client().Sign(ctx, &kms.SignInput{KeyId: &alias, Message: digest, MessageType: form, SigningAlgorithm: specs()[algorithm]})
	if err != nil {
		return nil, assertionError(ctx, "kms", err)
	}
	return out.Signature, nil
}

// assertionError returns the error of a service that signs client assertions. It wraps
// [oauth.ErrTemporary] unless the error is permanent.
func assertionError(ctx context.Context, service string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", service, oauth.ErrTemporary, ctx.Err())
	}
	code := ErrorCode(err)
	if permanent(code) || noKey(code) {
		return fmt.Errorf("%s: %s", service, code)
	}
	return fmt.Errorf("%s: %w: %s", service, oauth.ErrTemporary, code)
}
