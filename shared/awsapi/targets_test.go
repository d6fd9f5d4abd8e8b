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

// newTargets returns the real SDK client at the local stack's Secrets Manager.
func newTargets(t *testing.T) *Targets {
	t.Helper()
	server := httptest.NewServer(secretsmanager.New(secretsmanager.Config{Region: "eu-central-1", Account: "111122223333"}))
	t.Cleanup(server.Close)
	return NewTargets(configOf(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL))
}

// Read returns what Write wrote. No previous version keeps a label, so that Secrets Manager
// may delete it.
func TestTargetsWriteAndRead(t *testing.T) {
	targets := newTargets(t)
	if err := targets.Write(t.Context(), targetName, strings.Repeat("0", 64), []byte("x")); !errors.Is(err, secret.ErrNotFound) || strings.Contains(err.Error(), targetName) {
		t.Errorf("no such secret: got %v, want %v", err, secret.ErrNotFound)
	}
	if _, _, err := targets.Read(t.Context(), targetName); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("no such secret: got %v, want %v", err, secret.ErrNotFound)
	}
	if _, err := targets.client.CreateSecret(t.Context(), &aws.CreateSecretInput{Name: new(targetName)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := targets.Read(t.Context(), targetName); !errors.Is(err, secret.ErrNotFound) {
		t.Errorf("a secret without a value: got %v, want %v", err, secret.ErrNotFound)
	}
	for i := range 5 {
		text := strings.Repeat(string(rune('a'+i)), 40)
		for range 2 { // the second write has no effect
			if err := targets.Write(t.Context(), targetName, strings.Repeat(string(rune('0'+i)), 64), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		got, written, err := targets.Read(t.Context(), targetName)
		if err != nil || string(got) != text || time.Since(written).Abs() > 5*time.Second {
			t.Errorf("got %s of %v, %v, want %s of now", got, written, err, text)
		}
	}
	out, err := targets.client.DescribeSecret(t.Context(), &aws.DescribeSecretInput{SecretId: new(targetName)})
	if err != nil || len(out.VersionIdsToStages) != 1 {
		t.Errorf("got the versions %+v, %v, want one with a label", out, err)
	}
}
