package awsapi

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"tokenvendor/shared/fleet"
)

// Keys is a symmetric KMS key that encrypts the data keys of a table. It implements
// [fleet.Keys] and is safe for concurrent use. The encryption context of a data key names
// the table and the epoch. A policy can therefore limit the function's role to one table,
// and the data key of one epoch cannot be used as that of another. Calls are not retried.
type Keys struct {
	client    *kms.Client
	id, table string
}

// NewKeys returns the key of the given id, alias or ARN, for a table.
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

// Decrypt decrypts a data key. The error wraps [fleet.ErrNoKey] if it was not encrypted under
// this key for this table and epoch.
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
	code := ErrorCode(err)
	if ctx.Err() == nil && (code == "InvalidCiphertextException" || code == "IncorrectKeyException") {
		return fmt.Errorf("kms: %w (%s)", fleet.ErrNoKey, code)
	}
	return codeError(ctx, "kms", err)
}
