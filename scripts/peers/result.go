package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// result is a row with its answers and counts.
type result struct {
	row
	// answers are two to events of API Gateway, then two to direct invokes.
	answers []answer
	claims  claims
	tally
	tokens  int    // answers with a token
	hits    int    // audit lines with the outcome "hit"
	problem string // empty: none
}

// ask stores the row's document and asks for its token, twice by each kind of event.
func (e *env) ask(ctx context.Context, s *server, v *verifier, r row) result {
	out := result{row: r}
	if err := e.store(s, r); err != nil {
		out.problem = err.Error()
		return out
	}
	for _, ask := range []func(context.Context, string, map[string]any) (answer, error){e.gateway, e.gateway, e.direct, e.direct} {
		got, err := ask(ctx, r.client, r.request)
		if err != nil {
			out.problem = err.Error()
			return out
		}
		if got.Token != "" {
			out.tokens++
			e.addSecret(got.Token)
		}
		out.answers = append(out.answers, got)
	}
	if token := out.answers[0].Token; token != "" {
		var err error
		if out.claims, err = v.examine(ctx, token); err != nil {
			out.problem = err.Error()
		} else {
			out.problem = out.claims.check(r, s.Issuer, time.Now())
		}
	}
	return out
}

// store writes the client's document.
func (e *env) store(s *server, r row) error {
	document := map[string]any{
		"issuer": s.Issuer, "ca_certificates": oauthtest.CertificatePEM(e.ca.Certificate),
		// While a shared table does not answer in time, as on a busy machine, an environment gets a small share of this.
		"exchanges_per_second": 1000,
	}
	if s.TokenEndpoint != "" {
		document["token_endpoint"] = s.TokenEndpoint
	}
	maps.Copy(document, s.Document)
	maps.Copy(document, r.document)
	// A member that the method does not use is an error.
	if document["token_endpoint_auth_method"] != "client_secret_basic" {
		delete(document, "basic_encoding")
	}
	if document["token_endpoint_auth_method"] != "private_key_jwt" {
		delete(document, "assertion_audience")
	}
	text, err := json.Marshal(document)
	if err == nil {
		err = e.aws.putSecret("token-vendor/clients/"+r.client, string(text))
	}
	return err
}

// check says what is wrong with the result; empty: nothing. It needs the counts of the
// whole run.
func (out *result) check() string {
	if out.problem != "" {
		return out.problem
	}
	if len(out.answers) == 0 {
		return "no answers"
	}
	errors := make([]string, 0, len(out.answers))
	for _, a := range out.answers {
		errors = append(errors, orNone(a.Error))
	}
	said := strings.Join(errors, ", ")
	if out.wrong {
		if out.tokens > 0 || out.hits > 0 || out.tally != (tally{requests: 1, failedLogons: 1}) || strings.Trim(strings.ReplaceAll(said, "server_error", ""), ", ") != "" {
			return "want one failed logon and server_error for a wrong credential; got the errors " + said
		}
		return ""
	}
	if n := len(out.answers); out.tokens != n || out.hits != n-1 || out.tally != (tally{requests: 1, granted: 1}) {
		return fmt.Sprintf("want one exchange for %d tokens; got the errors %s", n, said)
	}
	return out.checkAnswers()
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// checkAnswers says what is wrong with the answers; empty: nothing.
func (out *result) checkAnswers() string {
	for _, a := range out.answers {
		switch {
		case a.Token != out.answers[0].Token:
			return "the answers have different tokens"
		case !strings.EqualFold(a.Type, "Bearer") || a.ExpiresIn <= 0:
			return "an answer without token_type or expires_in"
		case a.http && a.bound != (out.thumbprint != ""):
			return fmt.Sprintf("the warning that the token is certificate-bound: got %t, want %t", a.bound, !a.bound)
		case out.request["scope"] != nil && a.Scope != out.request["scope"]:
			return "the token has another scope"
		}
	}
	return ""
}
