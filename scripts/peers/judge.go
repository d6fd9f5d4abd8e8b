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

// result is a row with what came of it.
type result struct {
	row
	// answers are those of API Gateway's event, twice, then of direct invokes, twice.
	answers []answer
	claims  claims
	tally
	tokens int // answers with one
	hits   int // answers that the function's audit calls a hit
	// problem says what is not as it must be; empty: nothing.
	problem string
}

// ask stores the row's document and asks for its token in each way twice.
func (g *ground) ask(ctx context.Context, s *server, a *authority, r row) result {
	out := result{row: r}
	if err := g.store(s, r); err != nil {
		out.problem = err.Error()
		return out
	}
	for _, ask := range []func(context.Context, string, map[string]any) (answer, error){g.gateway, g.gateway, g.direct, g.direct} {
		got, err := ask(ctx, r.client, r.request)
		if err != nil {
			out.problem = err.Error()
			return out
		}
		if got.Token != "" {
			out.tokens++
			g.hide(got.Token)
		}
		out.answers = append(out.answers, got)
	}
	if token := out.answers[0].Token; token != "" {
		var err error
		if out.claims, err = a.examine(ctx, token); err != nil {
			out.problem = err.Error()
		} else {
			out.problem = out.claims.fault(r, s.Issuer, time.Now())
		}
	}
	return out
}

// store writes the client's document.
func (g *ground) store(s *server, r row) error {
	document := map[string]any{"issuer": s.Issuer, "ca_certificates": oauthtest.CertificatePEM(g.ca.Certificate)}
	if s.TokenEndpoint != "" {
		document["token_endpoint"] = s.TokenEndpoint
	}
	maps.Copy(document, s.Document)
	maps.Copy(document, r.document)
	text, err := json.Marshal(document)
	if err == nil {
		err = g.aws.putSecret("token-vendor/clients/"+r.client, string(text))
	}
	return err
}

// judge says what is not as it must be. It needs the counts of the whole run.
func (out *result) judge() string {
	if out.problem != "" {
		return out.problem
	}
	if len(out.answers) == 0 {
		return "it was not asked"
	}
	errors := make([]string, 0, len(out.answers))
	for _, a := range out.answers {
		errors = append(errors, orNone(a.Error))
	}
	said := strings.Join(errors, ", ")
	if out.wrong {
		if out.tokens > 0 || out.hits > 0 || out.tally != (tally{requests: 1, failedLogons: 1}) || strings.Trim(strings.ReplaceAll(said, "server_error", ""), ", ") != "" {
			return "a wrong credential must cost one failed logon and bring server_error; the answers: " + said
		}
		return ""
	}
	if n := len(out.answers); out.tokens != n || out.hits != n-1 || out.tally != (tally{requests: 1, granted: 1}) {
		return fmt.Sprintf("%d answers must cost one exchange; the errors: %s", n, said)
	}
	return out.differs()
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// differs says which of the answers is not as it must be.
func (out *result) differs() string {
	for _, a := range out.answers {
		switch {
		case a.Token != out.answers[0].Token:
			return "every token must be the first"
		case !strings.EqualFold(a.Type, "Bearer") || a.ExpiresIn <= 0:
			return "an answer has no type or no life"
		case a.http && a.bound != (out.thumbprint != ""):
			return fmt.Sprintf("certificate-bound is %t", a.bound)
		case out.request["scope"] != nil && a.Scope != out.request["scope"]:
			return "the scope is another"
		}
	}
	return ""
}
