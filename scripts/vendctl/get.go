package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenvendor/shared/client"
)

// asked are the flags of a token.
type asked struct {
	scope, resource []string
	audience        string
	tokenFormat     string
	appTID          string
	minTTL          remaining
}

func (a *asked) addFlags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&a.scope, "scope", nil, "scope; may be repeated")
	flags.StringArrayVar(&a.resource, "resource", nil, "resource (RFC 8707); may be repeated")
	flags.StringVar(&a.audience, "audience", "", "audience")
	flags.StringVar(&a.tokenFormat, "token-format", "", "jwt or opaque")
	flags.StringVar(&a.appTID, "app-tid", "", "tenant of SAP Cloud Identity Services")
	flags.Var(&a.minTTL, "min-ttl", "life that the token must have left, such as 10m")
}

// life is a flag of a duration that is not negative.
type life time.Duration

// Set implements [pflag.Value].
func (l *life) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("it must be a duration such as 10m")
	}
	*l = life(d)
	return nil
}

// String implements [pflag.Value].
func (l *life) String() string { return time.Duration(*l).String() }

// Type implements [pflag.Value].
func (l *life) Type() string { return "duration" }

// maxTTL is the longest min_ttl that the vendor takes.
const maxTTL = 24 * time.Hour

// remaining is the flag of a min_ttl, which is in whole seconds.
type remaining struct{ life }

// Set implements [pflag.Value].
func (r *remaining) Set(text string) error {
	if err := r.life.Set(text); err != nil {
		return err
	}
	if d := time.Duration(r.life); d%time.Second != 0 || d > maxTTL {
		return fmt.Errorf("it must be in whole seconds, and at most %.0fh", maxTTL.Hours())
	}
	return nil
}

// isZero reports whether no flag of a token was given.
func (a *asked) isZero() bool {
	return len(a.scope)+len(a.resource) == 0 && a.audience+a.tokenFormat+a.appTID == "" && a.minTTL.life == 0
}

func (a *asked) request(name string) client.Request {
	r := client.Request{Client: name, MinTTL: time.Duration(a.minTTL.life)}
	for _, scope := range a.scope {
		r.Scope = append(r.Scope, strings.Fields(scope)...)
	}
	r.Resource, r.Audience, r.TokenFormat, r.AppTID = a.resource, a.audience, a.tokenFormat, a.appTID
	return r
}

func newGet(a *access) *cobra.Command {
	var want asked
	var format string
	var decode bool
	cmd := &cobra.Command{
		Use:   "get CLIENT",
		Short: "Print a token",
		Long: "get prints a token of a client.\n\n" +
			"Formats: raw (the token), header (Authorization: Bearer …), json (the vendor's answer), env (ACCESS_TOKEN=…, for eval),\n" +
			"curl (a line for curl -K -, so that the token is not in the arguments of curl).",
		Args: oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output == "json" && format == "raw" {
				format = "json"
			}
			if !slices.Contains([]string{"raw", "header", "json", "env", "curl"}, format) {
				return usage("--format must be raw, header, json, env or curl")
			}
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			t, err := c.Token(cmd.Context(), want.request(args[0]))
			if err != nil {
				return err
			}
			if decode {
				return printClaims(cmd.OutOrStdout(), t.AccessToken(), a.output)
			}
			if isTerminal(cmd.OutOrStdout()) && !a.quiet && !t.Expiry().IsZero() {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "the token ends in %v\n", time.Until(t.Expiry()).Round(time.Second))
			}
			return printToken(cmd.OutOrStdout(), t, format)
		},
	}
	want.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", "raw", "raw, header, json, env or curl")
	cmd.Flags().BoolVar(&decode, "decode", false, "print the claims of a JWT instead of the token")
	return cmd
}

func printToken(w io.Writer, t *client.Token, format string) error {
	var text string
	switch format {
	case "header":
		text = "Authorization: " + t.Type() + " " + t.AccessToken()
	case "json":
		text = string(t.JSON(time.Now()))
	case "env":
		text = "ACCESS_TOKEN='" + strings.ReplaceAll(t.AccessToken(), "'", `'\''`) + "'"
	case "curl":
		text = `header = "Authorization: ` + t.Type() + " " + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(t.AccessToken()) + `"`
	default:
		text = t.AccessToken()
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// printClaims prints the header and the claims of a JWT, but not the signature: without it they
// are no token.
func printClaims(w io.Writer, token, output string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("the token is no JWT: only its API knows what it says")
	}
	sections := make([]map[string]json.RawMessage, 2)
	for i := range sections {
		text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[i], "="))
		if err != nil || json.Unmarshal(text, &sections[i]) != nil {
			return errors.New("the token is no JWT: only its API knows what it says")
		}
	}
	if output == "json" {
		text, err := json.Marshal(map[string]any{"header": sections[0], "claims": sections[1]})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, string(text))
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, title := range []string{"HEADER", "CLAIM"} {
		_, _ = fmt.Fprintf(table, "%s\tVALUE\n", title)
		var names []string
		for name := range sections[i] {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			_, _ = fmt.Fprintf(table, "%s\t%s%s\n", printable(name), printable(string(bytes.TrimSpace(sections[i][name]))), moment(name, sections[i][name]))
		}
	}
	return table.Flush()
}

// moment explains a claim that is a time (RFC 7519 section 4.1).
func moment(name string, raw json.RawMessage) string {
	var seconds float64
	if !slices.Contains([]string{"exp", "iat", "nbf", "auth_time"}, name) || json.Unmarshal(raw, &seconds) != nil {
		return ""
	}
	return time.Unix(int64(seconds), 0).UTC().Format(" (2006-01-02 15:04:05 UTC)")
}

// printable replaces control characters, which could change what a terminal shows.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

func newExplain(a *access) *cobra.Command {
	var want asked
	cmd := &cobra.Command{
		Use:   "explain CLIENT",
		Short: "Say whether there would be a token, and why not",
		Long:  "explain asks the vendor for a dry run. No authorization server is called. With --as it asks as another principal.",
		Args:  oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			text, err := c.Explain(cmd.Context(), want.request(args[0]))
			if err != nil {
				return err
			}
			return printExplanation(cmd.OutOrStdout(), text, a.output)
		},
	}
	want.addFlags(cmd.Flags())
	return cmd
}

// explanation is the vendor's answer to a dry run.
type explanation struct {
	Allowed     bool   `json:"allowed"`
	Failed      string `json:"failed"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// problem returns the error that a caller would get; nil: a token.
func (x explanation) problem() error {
	if x.Allowed && x.Error == "" {
		return nil
	}
	e := &client.Error{Status: http.StatusForbidden, Code: "access_denied", Description: "there would be no token"}
	switch x.Error {
	case "server_error":
		e.Status, e.Code = http.StatusBadGateway, x.Error
	case "invalid_request", "invalid_scope", "invalid_target", "unsupported_grant_type":
		e.Status, e.Code = http.StatusBadRequest, x.Error
	case "temporarily_unavailable":
		e.Status, e.Code = http.StatusServiceUnavailable, x.Error
	}
	for _, more := range []string{x.Description, x.Failed} {
		if more != "" {
			e.Description += ": " + printable(more)
		}
	}
	return e
}

func printExplanation(w io.Writer, text []byte, output string) error {
	var members map[string]any
	var x explanation
	if json.Unmarshal(text, &members) != nil || json.Unmarshal(text, &x) != nil {
		return errors.New("the vendor's answer is no explanation")
	}
	if output == "json" {
		_, err := fmt.Fprintln(w, string(text))
		return errors.Join(err, x.problem())
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range []string{"allowed", "mode", "rule", "would_deny", "nearest_rule", "failed", "error", "error_description"} {
		if value, ok := members[name]; ok {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", name, printable(fmt.Sprint(value)))
		}
	}
	return errors.Join(table.Flush(), x.problem())
}
