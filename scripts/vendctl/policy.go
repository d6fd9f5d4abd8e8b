package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/auditlog"
	"tokenvendor/shared/policy"
)

func newPolicy(a *access) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check a policy, and compare it with past decisions",
		Args:  exactly(0, "a command"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyCheck(), newPolicyTest(a), newPolicyDiff(a))
	return cmd
}

// readPolicy reads a policy document from a file; "-" is standard input. Each problem is an error.
func readPolicy(cmd *cobra.Command, name string) (*policy.Policy, error) {
	text, err := readInput(cmd, name)
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(text)
	var bad *policy.DocumentError
	if errors.As(err, &bad) {
		return nil, errors.New("the policy is not valid:\n  " + strings.Join(bad.Problems, "\n  "))
	}
	return p, err
}

func newPolicyCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether the vendor can read a policy",
		Long:  "check reads a policy as the vendor does, and prints all of its problems. FILE is - for standard input.",
		Args:  exactly(1, "a file, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := readPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: the policy can be read; its effect is %s\n", p.Effect())
			return err
		},
	}
}

func newPolicyTest(a *access) *cobra.Command {
	var q policy.Query
	cmd := &cobra.Command{
		Use:   "test FILE --caller CALLER --client CLIENT",
		Short: "Print what a policy decides about one request",
		Args:  exactly(1, "a file, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Caller == "" || q.Client == "" {
				return usage("--caller and --client are missing")
			}
			var err error
			if q.Caller, err = oneCaller(q.Caller); err == nil {
				err = clientNames([]string{q.Client})
			}
			if err != nil {
				return err
			}
			p, err := readPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			d := p.Decide(q)
			members := map[string]any{"allowed": d.Allowed, "mode": map[policy.Effect]string{policy.Enforce: "document", policy.Audit: "audit"}[p.Effect()]}
			for name, value := range map[string]string{"rule": d.Rule, "nearest_rule": d.Nearest, "failed": d.Failed} {
				if value != "" {
					members[name] = value
				}
			}
			if d.WouldDeny {
				members["would_deny"] = true
			}
			text, err := json.Marshal(members)
			if err != nil {
				return err
			}
			return printExplanation(cmd.OutOrStdout(), text, a.output)
		},
	}
	cmd.Flags().StringVar(&q.Caller, "caller", "", "the caller as in audit lines: aws:111122223333:role/NAME, direct:ALIAS and others; or the ARN of a role or user")
	cmd.Flags().StringVar(&q.CallerID, "caller-id", "", "the unique id of its role or user")
	cmd.Flags().StringVar(&q.Client, "client", "", "name of the client")
	cmd.Flags().StringArrayVar(&q.Scope, "scope", nil, "scope that is requested or granted; may be repeated")
	cmd.Flags().StringArrayVar(&q.Resource, "resource", nil, "resource or audience; may be repeated")
	return cmd
}

// oneCaller returns a caller as in audit lines. The ARN of a role or a user is meant too.
func oneCaller(text string) (string, error) {
	caller, err := policy.Caller(text)
	if err != nil {
		return "", usage("--caller %w", err)
	}
	return caller, nil
}

// change is what a candidate decides in another way than the vendor did.
type change struct {
	Change    string    `json:"change"` // loses or gains
	Caller    string    `json:"caller"`
	Client    string    `json:"client"`
	Decisions int       `json:"decisions"`
	Failed    string    `json:"failed,omitempty"`
	Nearest   string    `json:"nearest_rule,omitempty"`
	Rule      string    `json:"rule,omitempty"`
	Last      time.Time `json:"last"`
}

// changes are those of lines, by what makes a row.
type changes struct {
	candidate *policy.Policy
	decisions int
	rows      map[[5]string]*change
}

// add decides about the request of a line again. What the client's document adds to a request is in
// no line. Nor is what a refused caller asked for, so that the candidate is asked without it.
func (c *changes) add(l *auditlog.Line) error {
	byPolicy := slices.Contains([]string{"client", "caller", "caller_id", "scope", "resource", "freeze"}, l.Failed)
	if !l.Asked() || l.DryRun || !l.Allowed && !byPolicy {
		return nil
	}
	c.decisions++
	q := policy.Query{Caller: l.Caller, CallerID: l.CallerID, Client: l.Client, Scope: slices.Concat(l.ScopeAsked, l.ScopeGranted), Resource: l.Resource}
	if l.Audience != "" {
		q.Resource = append(slices.Clone(l.Resource), l.Audience)
	}
	d := c.candidate.Decide(q)
	// Effect audit is for a trial: what it would deny is what is to be known.
	if allowed := d.Allowed && !d.WouldDeny; allowed == l.Allowed {
		return nil
	}
	what := "loses"
	if !l.Allowed {
		what = "gains"
	}
	key := [5]string{what, l.Caller, l.Client, d.Failed, d.Rule}
	row := c.rows[key]
	if row == nil {
		row = &change{Change: what, Caller: l.Caller, Client: l.Client, Failed: d.Failed, Nearest: d.Nearest, Rule: d.Rule}
		c.rows[key] = row
	}
	row.Decisions++
	if l.Time.After(row.Last) {
		row.Last = l.Time
	}
	return nil
}

func (c *changes) sorted() []*change {
	return slices.SortedFunc(maps.Values(c.rows), func(a, b *change) int {
		return cmp.Or(strings.Compare(b.Change, a.Change), strings.Compare(a.Client, b.Client), strings.Compare(a.Caller, b.Caller), strings.Compare(a.Failed, b.Failed))
	})
}

func newPolicyDiff(a *access) *cobra.Command {
	var p period
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Print which past decisions a policy would change",
		Long: "diff decides about the requests of the audit lines again, by the policy in FILE. A caller loses a client if the policy would deny\n" +
			"what was allowed, and gains one if it would allow what was denied. What the client's document adds to a request is in no line,\n" +
			"and neither is what a refused caller asked for: both are left out.",
		Args: exactly(1, "a file, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			candidate, err := readPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			log, err := a.openLog(cmd)
			if err != nil {
				return err
			}
			c := &changes{candidate: candidate, rows: make(map[[5]string]*change)}
			if err := log.Read(cmd.Context(), auditlog.Query{From: time.Now().Add(-time.Duration(p.since))}, c.add); err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), a.output)
		},
	}
	p.addFlags(cmd.Flags(), 7*24*time.Hour, "how long ago the first decision was")
	return cmd
}

func (c *changes) print(out io.Writer, output string) error {
	rows := c.sorted()
	if output == "json" {
		if rows == nil {
			rows = []*change{}
		}
		return json.NewEncoder(out).Encode(map[string]any{"decisions": c.decisions, "changes": rows})
	}
	callers := make(map[string]map[[2]string]bool)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		_, _ = fmt.Fprintln(table, "CHANGE\tCALLER\tCLIENT\tDECISIONS\tLAST\tWHY")
	}
	for _, row := range rows {
		reason := "rule " + row.Rule
		if row.Change == "loses" {
			reason = strings.TrimSuffix(row.Failed+" does not match, nearest "+row.Nearest, ", nearest ")
			if row.Failed == "freeze" {
				reason = "the client is frozen"
			}
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", row.Change, printable(row.Caller), printable(row.Client), row.Decisions, stamp(row.Last), printable(reason))
		if callers[row.Change] == nil {
			callers[row.Change] = make(map[[2]string]bool)
		}
		callers[row.Change][[2]string{row.Caller, row.Client}] = true
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d decisions: %d pairs of a caller and a client would lose tokens, %d would gain them\n", c.decisions, len(callers["loses"]), len(callers["gains"]))
	return err
}

// newFreeze returns the command freeze, or unfreeze.
func newFreeze(a *access, freeze bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "freeze CLIENT",
		Short: "Let no caller have tokens of a client",
		Long: "freeze adds the client to the member freeze of the policy. All environments follow within a minute. Tokens that were given before\n" +
			"stay valid: who-holds prints them. If somebody else changes the policy meanwhile, nothing is changed.",
		Args: oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error { return a.freeze(cmd, args[0], freeze) },
	}
	if !freeze {
		cmd.Use, cmd.Short = "unfreeze CLIENT", "End freeze"
		cmd.Long = "unfreeze removes the client from the member freeze of the policy. If somebody else changes the policy meanwhile, nothing is changed."
	}
	return cmd
}

func (a *access) freeze(cmd *cobra.Command, name string, freeze bool) error {
	v, err := a.openVault(cmd.Context())
	if err != nil {
		return err
	}
	if v.policy == "" {
		return fmt.Errorf("the policy: %w: the stack has none, so that IAM alone decides: deny the client's callers its path there, to stop them now. "+
			`For freeze, store {"effect": "audit", "rules": []}, which denies nothing, or another policy, and %s`, errNotFound,
			map[bool]string{true: "start the local stack with -policy FILE", false: "deploy the stack with the secret's name as PolicySecret"}[a.local != ""])
	}
	got, err := v.api.GetSecretValue(cmd.Context(), &secretsmanager.GetSecretValueInput{SecretId: &v.policy})
	if err != nil {
		return refused("the policy", err)
	}
	changed, err := frozen([]byte(aws.ToString(got.SecretString)), name, freeze)
	if err != nil {
		return err
	}
	defer v.warnIfUnknown(cmd, name)
	if changed == nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "client %s: the policy says so already\n", name)
		return err
	}
	// A new version without a label, so that AWSCURRENT moves only if nobody else has moved it.
	put, err := v.api.PutSecretValue(cmd.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: &v.policy, SecretString: aws.String(string(changed)), VersionStages: []string{"vendctl"},
	})
	if err != nil {
		return refused("the policy", err)
	}
	if err := v.move(cmd.Context(), v.policy, aws.ToString(got.VersionId), aws.ToString(put.VersionId)); err != nil {
		return err
	}
	done := map[bool]string{true: "frozen", false: "not frozen any more"}[freeze]
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "client %s is %s; the environments follow within a minute\n", name, done)
	return err
}

// isFrozen reports whether a policy refuses every request for a client.
func isFrozen(p *policy.Policy, name string) bool {
	return p.Decide(policy.Query{Client: name}).Failed == "freeze"
}

// frozen returns a policy in which a client is frozen or not; nil: it is so already.
func frozen(text []byte, name string, freeze bool) ([]byte, error) {
	parsed, err := policy.Parse(text)
	if err != nil {
		return nil, errors.New("the policy is not valid, so that every request is denied: vendctl policy check names its problems")
	}
	if isFrozen(parsed, name) == freeze {
		return nil, nil
	}
	var members map[string]json.RawMessage
	var list []string
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, errors.New("the policy is not a JSON object")
	}
	if raw := members["freeze"]; raw != nil {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, errors.New("freeze is not a list")
		}
	}
	if freeze {
		list = append(list, name)
	} else {
		list = slices.DeleteFunc(list, func(one string) bool { return one == name })
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	members["freeze"] = raw
	changed, err := json.MarshalIndent(members, "", " ")
	if err != nil {
		return nil, err
	}
	if parsed, err = policy.Parse(changed); err != nil {
		return nil, err
	}
	if isFrozen(parsed, name) != freeze {
		return nil, errors.New("a pattern in freeze stands for several clients: change it in the policy")
	}
	return changed, nil
}
