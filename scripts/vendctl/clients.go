package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/tokensource"
)

func newClient(a *access) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client",
		Short: "List, check and add the vendor's clients",
		Args:  exactly(0, "a command"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newClientList(a), newClientShow(a), newClientCheck(a), newClientAdd(a), newClientRollback(a), newClientReread(a))
	return cmd
}

func newClientList(a *access) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the clients, when their documents changed, and on which day they were read last",
		Args:  exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.openVault(cmd.Context())
			if err != nil {
				return err
			}
			all, err := v.list(cmd.Context(), "")
			if err != nil {
				return err
			}
			if a.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "NAME\tCHANGED\tREAD")
			for _, one := range all {
				changed, read := "-", "-"
				if one.Changed != nil {
					changed = stamp(*one.Changed)
				}
				if one.Accessed != nil {
					read = one.Accessed.UTC().Format(time.DateOnly)
				}
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", printable(one.Name), changed, read)
			}
			return table.Flush()
		},
	}
}

func newClientShow(a *access) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print what a client's document says, but no credential",
		Args:  oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.openVault(cmd.Context())
			if err != nil {
				return err
			}
			s, err := v.read(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c, err := v.registry(fixed(s)).Inspect(cmd.Context(), args[0])
			if err != nil {
				return documentProblem(err)
			}
			return printClient(cmd.OutOrStdout(), c, a.output)
		},
	}
}

// badDocument is a document that the vendor cannot use.
type badDocument struct{ problems []string }

// Error implements error.
func (e badDocument) Error() string {
	return "the document is not valid:\n  " + strings.Join(e.problems, "\n  ")
}

// withFlags adds to the problem of a password that is missing the flag of client add that gives it.
func withFlags(err error) error {
	var bad badDocument
	if !errors.As(err, &bad) {
		return err
	}
	for i, problem := range bad.problems {
		for member, flag := range map[string]string{"private_key_password": "--key-password-file", "pkcs12_password": "--p12-password-file"} {
			if strings.Contains(problem, member+" is missing") {
				bad.problems[i] += "; give the password by " + flag
			}
		}
	}
	return bad
}

// documentProblem returns the error of a registry for a person.
func documentProblem(err error) error {
	var bad *registry.DocumentError
	switch {
	case errors.As(err, &bad):
		return badDocument{bad.Problems}
	case errors.Is(err, errInAWS):
		return errInAWS
	case errors.Is(err, secret.ErrUnavailable):
		return &examinationError{"the issuer that the document names does not answer now", exitTemporary}
	}
	return err
}

// printClient prints what a client is. It has no member that could hold a credential.
func printClient(out io.Writer, c *registry.Client, output string) error {
	var rows [][2]string
	add := func(name string, values ...string) {
		if text := strings.Join(values, " "); text != "" {
			rows = append(rows, [2]string{name, text})
		}
	}
	add("name", c.Name)
	add("version", c.Version)
	if !c.Created.IsZero() {
		add("created", stamp(c.Created))
	}
	add("method", string(c.Method))
	add("issuer_host", c.IssuerHost)
	add("scope", c.Defaults.Scope...)
	add("resource", c.Defaults.Resource...)
	add("audience", c.Defaults.Audience)
	add("token_format", c.Defaults.TokenFormat)
	add("parameters", c.ParameterNames()...) // their values may be secret
	add("allow_parameters", slices.Sorted(maps.Keys(c.Allow))...)
	if c.Rate != 0 {
		add("exchanges_per_second", fmt.Sprint(c.Rate))
	}
	if !c.Expires.IsZero() {
		add("expires", stamp(c.Expires))
	}
	if !c.CertificateNotAfter.IsZero() {
		add("certificate_not_after", stamp(c.CertificateNotAfter))
		add("certificate_days", fmt.Sprint(int(time.Until(c.CertificateNotAfter)/(24*time.Hour))))
	}
	for _, note := range c.Notes {
		add("note", note)
	}
	if output == "json" {
		members := make(map[string]any, len(rows))
		for _, row := range rows {
			if row[0] == "note" {
				continue
			}
			members[row[0]] = row[1]
		}
		if len(c.Notes) > 0 {
			members["notes"] = c.Notes
		}
		return json.NewEncoder(out).Encode(members)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", row[0], printable(row[1]))
	}
	return table.Flush()
}

func newClientCheck(a *access) *cobra.Command {
	exchange := false
	cmd := &cobra.Command{
		Use:   "check FILE|NAME",
		Short: "Check a client's document, and the server that it names",
		Long: "check reads a document as the vendor does, and prints all of its problems. A text with a slash or a dot in it, and -, is a file,\n" +
			"anything else the name of a client. It then finds the token endpoint. With --exchange it also asks for one token, which it does\n" +
			"not print: the authorization server counts a wrong credential as a failed logon.",
		Args: exactly(1, "a file or the name of a client"), ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, name, s, err := a.document(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := v.check(cmd.Context(), name, s, exchange)
			if err != nil {
				return err
			}
			return printClient(cmd.OutOrStdout(), c, a.output)
		},
	}
	cmd.Flags().BoolVar(&exchange, "exchange", false, "ask the authorization server for one token")
	return cmd
}

// document returns the document that an argument means. If there is no such client, but a file of the
// name, the error says how to name the file.
func (a *access) document(cmd *cobra.Command, arg string) (v *vault, name string, s secret.Secret, err error) {
	isFile := arg == "-" || strings.ContainsAny(arg, "./\\")
	if v, name, s, err = a.fileOrClient(cmd, arg, isFile); err != nil && !isFile {
		if info, failure := os.Stat(arg); failure == nil && !info.IsDir() {
			err = fmt.Errorf("%w; if the file of this name is meant, write ./ before the name", err)
		}
	}
	return v, name, s, err
}

// fileOrClient returns the document of a file or of a client. A file needs no vendor, so that the
// variable that names one has no effect.
func (a *access) fileOrClient(cmd *cobra.Command, arg string, isFile bool) (v *vault, name string, s secret.Secret, err error) {
	if isFile && (a.local == "" && a.stack == "" || a.named != "") {
		cfg, err := a.aws(cmd.Context())
		if err != nil {
			return nil, "", s, err
		}
		if v, err = newVault(cfg); err != nil {
			return nil, "", s, err
		}
	} else if v, err = a.openVault(cmd.Context()); err != nil {
		return nil, "", s, err
	}
	if !isFile {
		if err := clientNames([]string{arg}); err != nil {
			return nil, "", s, err
		}
		s, err = v.read(cmd.Context(), arg)
		return v, arg, s, err
	}
	s.Text, err = readInput(cmd, arg)
	return v, "check", s, err
}

// check returns the client of a document, or all problems of it: first those that need no network.
func (v *vault) check(ctx context.Context, name string, s secret.Secret, exchange bool) (*registry.Client, error) {
	r := v.registry(fixed(s))
	if err := v.inspect(ctx, name, s); err != nil {
		return nil, err
	}
	c, _, err := r.Load(ctx, name, registry.Have{})
	if err != nil {
		return nil, documentProblem(err)
	}
	if !exchange {
		return c, nil
	}
	defer c.OAuth.Close()
	if c.SingleToken {
		return nil, errors.New("a new token would end the one in use (single_token), so that none is asked for")
	}
	request := oauth.Request{Ask: c.Defaults, MaxAttempts: 1}
	if _, err := oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(ctx, c.OAuth, request); err != nil {
		return nil, exchangeProblem(ctx, err)
	}
	return c, nil
}

// inspect returns the problems of a document that need no network to be found.
func (v *vault) inspect(ctx context.Context, name string, s secret.Secret) error {
	if _, err := v.registry(fixed(s)).Inspect(ctx, name); err != nil {
		return documentProblem(err)
	}
	return nil
}

// exchangeProblem says what an authorization server has refused, or why it gave no answer.
func exchangeProblem(ctx context.Context, err error) error {
	var failure *oauth.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &failure):
		return errors.New("the authorization server gave no token")
	case failure.Temporary():
		return &examinationError{"the authorization server gives no token now, try again later: " + failure.Error(), exitTemporary}
	}
	text := "the authorization server gave no token: " + failure.Error()
	if failure.FailedLogon() {
		text += tokensource.FailedLogonAdvice
	}
	return badDocument{[]string{text}}
}

func newClientRollback(a *access) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME",
		Short: "Make the previous version of a client's document the current one",
		Long: "rollback moves the label AWSCURRENT to the version that has AWSPREVIOUS, unless another one has become the current one meanwhile.\n" +
			"The vendor reads the document again within five minutes.",
		Args: oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.openVault(cmd.Context())
			if err != nil {
				return err
			}
			current, previous, err := v.versions(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if previous == "" {
				return fmt.Errorf("client %s: %w: there is no previous version", args[0], errNotFound)
			}
			if err := v.move(cmd.Context(), v.prefix+args[0], current, previous); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "client %s: version %s is the current one again\n", args[0], previous)
			return err
		},
	}
}
