package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

func TestDocumentFault(t *testing.T) {
	document := &registry.DocumentError{Client: "billing", Version: "v1", Problems: []string{"client_id must be a string", "alg is \"not\" known"}}
	for _, test := range []struct {
		name string
		err  error
		want fault.Kind
		says string
	}{
		{"no such client", fmt.Errorf("client x: %w", secret.ErrNotFound), fault.Denied, "not allowed, or no such client"},
		{"access denied", fmt.Errorf("client x: %w", secret.ErrDenied), fault.Misconfigured, "cannot be read"},
		{"not available", fmt.Errorf("client x: %w", secret.ErrUnavailable), fault.Unavailable, "cannot be read now"},
		{"metadata of the issuer", fmt.Errorf("client x: %w", oauth.ErrDiscovery), fault.Unavailable, "cannot be read now"},
		{"too late", fmt.Errorf("client x: %w", context.DeadlineExceeded), fault.Timeout, "in time"},
		{"bad document", fmt.Errorf("client x: %w", document), fault.Misconfigured, "client_id must be a string; alg is"},
		{"too many wait", cache.ErrBusy, fault.Unavailable, "too many"},
		{"another", errors.New("arn:aws:secretsmanager:x"), fault.Internal, "internal error"},
	} {
		e := documentFault(test.err)
		if e.Kind != test.want || !strings.Contains(e.Description, test.says) {
			t.Errorf("%s: got %d %q, want %d and %q", test.name, e.Kind, e.Description, test.want, test.says)
		}
		if strings.ContainsAny(e.Description, `"\`) || strings.Contains(e.Description+e.Detail, "arn:") {
			t.Errorf("%s: %q holds what no description may", test.name, e.Description)
		}
		if (e.RetryAfter > 0) != (e.Kind == fault.Unavailable || e.Kind == fault.Timeout) {
			t.Errorf("%s: RetryAfter is %v", test.name, e.RetryAfter)
		}
	}
}
