package oauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

// TestSecretIsNeverPrinted prints a secret in all usual ways, alone and inside other values.
func TestSecretIsNeverPrinted(t *testing.T) {
	const canary = "cnry-5f1c"
	secret := oauth.NewSecret(canary)
	type holder struct {
		Public  oauth.Secret
		private oauth.Secret
	}
	values := []any{secret, &secret, holder{secret, secret}, &holder{secret, secret}, []oauth.Secret{secret},
		map[string]oauth.Secret{"k": secret}, oauth.SecretPost{Secret: secret}, struct{ s any }{secret}}
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	text := slog.New(slog.NewTextHandler(&out, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		log.Info("m", "v", v)
		text.Info("m", "v", v)
	}
	if got := out.String(); strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
		t.Error("the output contains the secret")
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("the output does not contain [redacted]")
	}
	if secret.Expose() != canary || secret.IsZero() || !(oauth.Secret{}).IsZero() {
		t.Error("Expose or IsZero is wrong")
	}
}
