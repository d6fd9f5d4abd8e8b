package awsapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"tokenvendor/shared/fleet"
)

// Keys is a symmetric KMS key under which data keys lie in a table. It implements
// [fleet.Keys] and is safe for concurrent use. Each data key is bound by its
// encryption context to the table and the epoch, so that the function's role can be
// bound to the table, and a key of yesterday is none of today's. Calls are not
// tried again.
type Keys struct {
	client    *kms.Client
	id, table string
}

// NewKeys returns the key of that id, alias or ARN, for that table.
func NewKeys(cfg aws.Config, id, table string) *Keys {
	return &Keys{client: kms.NewFromConfig(cfg, func(o *kms.Options) { o.RetryMaxAttempts = 1 }), id: id, table: table}
}

// Generate makes a data key of 32 bytes.
func (k *Keys) Generate(ctx context.Context, epoch string) (plain, encrypted []byte, err error) {
	out, err := k.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &k.id, KeySpec: types.DataKeySpecAes256, EncryptionContext: k.context(epoch),
	})
	if err != nil {
		return nil, nil, keyError(ctx, err)
	}
	return out.Plaintext, out.CiphertextBlob, nil
}

// Decrypt opens a data key; the error wraps [fleet.ErrNoKey] if it is none of
// this key, table and epoch.
func (k *Keys) Decrypt(ctx context.Context, epoch string, encrypted []byte) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.id, CiphertextBlob: encrypted, EncryptionContext: k.context(epoch)})
	if err != nil {
		return nil, keyError(ctx, err)
	}
	return out.Plaintext, nil
}

func (k *Keys) context(epoch string) map[string]string {
	return map[string]string{"table": k.table, "epoch": epoch}
}

func keyError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("kms: %w", ctx.Err())
	}
	switch code := ErrorCode(err); code {
	case "InvalidCiphertextException", "IncorrectKeyException":
		return fmt.Errorf("kms: %w (%s)", fleet.ErrNoKey, code)
	default:
		return errors.New("kms: " + code)
	}
}
