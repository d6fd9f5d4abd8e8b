package awsapi

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	aws "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/secret"
)

const targetName = "token-vendor/tokens/billing"

// newTargets is the real SDK client on the local stack's Secrets Manager.
func newTargets(t *testing.T) *Targets {
	t.Helper()
	server := secretsmanager.New(secretsmanager.Config{Region: "eu-central-1", Account: "111122223333"})
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "cnry-key")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", front.URL)
	cfg, err := LoadConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return NewTargets(cfg)
}

// TestTargets: what is written is read again, and of the versions before none keeps a
// label, so that Secrets Manager may delete them.
func TestTargets(t *testing.T) {
	targets := newTargets(t)
	if err := targets.Write(t.Context(), targetName, strings.Repeat("0", 64), []byte("x")); !errors.Is(err, secret.ErrNotFound) || strings.Contains(err.Error(), targetName) {
		t.Errorf("no such secret: %v", err)
	}
	if _, _, err := targets.Read(t.Context(), targetName); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("no such secret: %v", err)
	}
	if _, err := targets.client.CreateSecret(t.Context(), &aws.CreateSecretInput{Name: new(targetName)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := targets.Read(t.Context(), targetName); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("a secret without a value: %v", err)
	}
	for i := range 5 {
		text := strings.Repeat(string(rune('a'+i)), 40)
		for range 2 { // the second is a repetition
			if err := targets.Write(t.Context(), targetName, strings.Repeat(string(rune('0'+i)), 64), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		got, written, err := targets.Read(t.Context(), targetName)
		if err != nil || string(got) != text || time.Since(written).Abs() > 5*time.Second {
			t.Errorf("read %s of %v, %v", got, written, err)
		}
	}
	out, err := targets.client.DescribeSecret(t.Context(), &aws.DescribeSecretInput{SecretId: new(targetName)})
	if err != nil || len(out.VersionIdsToStages) != 1 {
		t.Errorf("versions with a label: %+v, %v", out, err)
	}
}
