package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenvendor/scripts/vendctl/auditlog"
)

// period is the time of audit lines.
type period struct{ since life }

func (p *period) addFlags(flags *pflag.FlagSet, preset time.Duration, what string) {
	p.since = life(preset)
	flags.Var(&p.since, "since", what)
}

// openLog returns the audit log of the stack, which shows on a terminal how much of it is read.
func (a *access) openLog(cmd *cobra.Command) (*watchedLog, error) {
	watched := &watchedLog{progress: a.progress(cmd)}
	if a.local != "" {
		s, err := a.readStack()
		if err != nil {
			return nil, err
		}
		watched.Log = auditlog.File(s.Log)
		return watched, nil
	}
	if a.stack == "" {
		return nil, errNoStack("whose log?")
	}
	cfg, err := a.aws(cmd.Context())
	if err != nil {
		return nil, err
	}
	outputs, err := a.outputs(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	c := &auditlog.CloudWatch{API: cloudwatchlogs.NewFromConfig(cfg)}
	for _, name := range []string{"FunctionLogGroup", "BatchLogGroup"} {
		if group := outputs[name]; group != "" {
			c.Groups = append(c.Groups, group)
		}
	}
	if len(c.Groups) == 0 {
		return nil, a.missing("output FunctionLogGroup")
	}
	c.Progress = func(part float64) {
		watched.part = part
		watched.show()
	}
	watched.Log = c
	return watched, nil
}

func newAudit(a *access) *cobra.Command {
	var p period
	var q auditlog.Query
	follow := false
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print the audit lines: who got which token, and who was refused",
		Long:  "audit prints the decisions of the vendor. With -o json it prints the lines as they were written.",
		Args:  exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Caller != "" {
				var err error
				if q.Caller, err = oneCaller(q.Caller); err != nil {
					return err
				}
			}
			log, err := a.openLog(cmd)
			if err != nil {
				return err
			}
			q.From = time.Now().Add(-time.Duration(p.since))
			out := &auditPrinter{out: cmd.OutOrStdout(), json: a.output == "json", progress: log.progress}
			switch {
			case !follow:
				return out.read(cmd.Context(), log, q)
			case a.local != "":
				return out.follow(cmd.Context(), log, q, followInterval)
			}
			return out.follow(cmd.Context(), log, q, followCloudWatch)
		},
	}
	p.addFlags(cmd.Flags(), time.Hour, "how long ago the first line was")
	cmd.Flags().StringVar(&q.Client, "client", "", "only this client")
	cmd.Flags().StringVar(&q.Caller, "caller", "", "only this caller, as in the lines: aws:111122223333:role/NAME; or the ARN of a role or user")
	cmd.Flags().BoolVar(&q.Refused, "refused", false, "only requests that got no token")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until Ctrl-C")
	return cmd
}

const (
	// followInterval is the pause between two reads of the log. A query of CloudWatch Logs costs
	// money.
	followInterval   = 2 * time.Second
	followCloudWatch = 15 * time.Second
	// lateLines is how late a line may be.
	lateLines = 5 * time.Minute
)

// auditPrinter prints each line once.
type auditPrinter struct {
	out   io.Writer
	json  bool
	table *tabwriter.Writer
	// seen are the lines that the next read may return again, by what makes a line unique, and next
	// is when the first of these was.
	seen map[string]time.Time
	next time.Time
	// progress must not be on the terminal together with a line.
	progress *progress
}

// read prints the lines of q that were not printed.
func (p *auditPrinter) read(ctx context.Context, log auditlog.Log, q auditlog.Query) error {
	// Lines come late: a decision has the time of its begin.
	p.next = time.Now().Add(-lateLines)
	return cmp.Or(log.Read(ctx, q, p.print), p.flush())
}

// follow prints lines until ctx ends. A read begins where the last one did, because hours may be between
// them: the machine was asleep, or nobody read the output.
func (p *auditPrinter) follow(ctx context.Context, log *watchedLog, q auditlog.Query, interval time.Duration) error {
	for {
		err := p.read(ctx, log, q)
		if err != nil && ctx.Err() == nil {
			return err
		}
		log.progress = nil // what follows is read in no time
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		q.From = p.next
		maps.DeleteFunc(p.seen, func(_ string, at time.Time) bool { return at.Before(q.From) })
	}
}

func (p *auditPrinter) print(l *auditlog.Line) error {
	if p.seen == nil {
		p.seen = make(map[string]time.Time)
	}
	key := string(l.Raw)
	if _, ok := p.seen[key]; ok {
		return nil
	}
	if !l.Time.Before(p.next) {
		p.seen[key] = l.Time
	}
	if p.json {
		p.progress.clear()
		_, err := fmt.Fprintln(p.out, string(l.Raw))
		return err
	}
	if p.table == nil {
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(p.table, "TIME\tCLIENT\tCALLER\tOUTCOME\tTOKEN\tWHY")
	}
	_, err := fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%s\t%s\n", stamp(l.Time), printable(l.Client), printable(cmp.Or(l.Caller, l.Source)), printable(l.Outcome), short(l.TokenSHA256), printable(why(l)))
	return err
}

func (p *auditPrinter) flush() error {
	if p.table == nil {
		return nil
	}
	return p.table.Flush()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// short returns the first characters of a fingerprint, which are enough to tell tokens apart.
func short(fingerprint string) string { return fingerprint[:min(12, len(fingerprint))] }

// why says which rule allowed a request, or what refused it.
func why(l *auditlog.Line) string {
	var parts []string
	for _, part := range []struct{ name, value string }{{"rule", l.Rule}, {"failed", l.Failed}, {"nearest", l.Nearest}, {"", l.Error}, {"", l.Detail}} {
		switch {
		case part.value == "":
		case part.name == "":
			parts = append(parts, part.value)
		default:
			parts = append(parts, part.name+" "+part.value)
		}
	}
	return strings.Join(parts, ", ")
}

// holding is a caller's token.
type holding struct {
	Caller  string    `json:"caller"`
	Client  string    `json:"client"`
	Token   string    `json:"token_sha256"`
	Until   time.Time `json:"until"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Times   int       `json:"times"`
	Rule    string    `json:"rule,omitempty"`
	Session string    `json:"session,omitempty"`
}

// holdings returns who has got the tokens of the lines, in the order of their ends.
type holdings map[[2]string]*holding

func (h holdings) add(l *auditlog.Line) error {
	if !l.Asked() || !l.Allowed || l.TokenSHA256 == "" || l.DryRun {
		return nil
	}
	key := [2]string{l.Caller, l.TokenSHA256}
	one := h[key]
	if one == nil {
		one = &holding{Caller: l.Caller, Client: l.Client, Token: l.TokenSHA256, First: l.Time}
		h[key] = one
	}
	one.Last, one.Rule, one.Session = l.Time, l.Rule, l.Session
	one.Times++
	if l.ExpiresAt > 0 {
		one.Until = time.Unix(l.ExpiresAt, 0).UTC()
	}
	return nil
}

func (h holdings) sorted() []*holding {
	return slices.SortedFunc(maps.Values(h), func(a, b *holding) int {
		return cmp.Or(b.Until.Compare(a.Until), strings.Compare(a.Caller, b.Caller), strings.Compare(a.Token, b.Token))
	})
}

func printHoldings(out io.Writer, all []*holding, output string) error {
	if output == "json" {
		if all == nil {
			all = []*holding{}
		}
		return json.NewEncoder(out).Encode(all)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CALLER\tCLIENT\tUNTIL\tFIRST\tLAST\tTIMES\tRULE\tTOKEN")
	for _, one := range all {
		until := "not known"
		if !one.Until.IsZero() {
			until = stamp(one.Until)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", printable(one.Caller), printable(one.Client), until, stamp(one.First), stamp(one.Last), one.Times, printable(cmp.Or(one.Rule, "-")), short(one.Token))
	}
	return table.Flush()
}

func newWhoHolds(a *access) *cobra.Command {
	var p period
	cmd := &cobra.Command{
		Use:   "who-holds CLIENT",
		Short: "Print who has a token of a client that has not ended",
		Long: "who-holds reads the audit lines, and prints each caller that got a token of the client and until when it is valid. A token\n" +
			"whose life the authorization server does not tell is printed too. --since must be as long as the tokens live.",
		Args: oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := a.find(cmd, auditlog.Query{From: time.Now().Add(-time.Duration(p.since)), Client: args[0]})
			if err != nil {
				return err
			}
			live := slices.DeleteFunc(slices.Clone(found), func(one *holding) bool { return !one.Until.IsZero() && !one.Until.After(time.Now()) })
			if err := printHoldings(cmd.OutOrStdout(), live, a.output); err != nil || len(found) > 0 {
				return err
			}
			if v, err := a.openVault(cmd.Context()); err == nil {
				v.warnIfUnknown(cmd, args[0])
			}
			return nil
		},
	}
	p.addFlags(cmd.Flags(), 24*time.Hour, "how long ago the first token was given")
	return cmd
}

// find returns who has got the tokens that q means.
func (a *access) find(cmd *cobra.Command, q auditlog.Query) ([]*holding, error) {
	log, err := a.openLog(cmd)
	if err != nil {
		return nil, err
	}
	found := make(holdings)
	if err := log.Read(cmd.Context(), q, found.add); err != nil {
		return nil, err
	}
	return found.sorted(), nil
}

func newToken(a *access) *cobra.Command {
	var p period
	cmd := &cobra.Command{
		Use:   "token -",
		Short: "Read a token on standard input, and print who got it",
		Long: "token reads a token or its SHA-256 on standard input, so that it is in no argument, and prints who got it, when, and by which\n" +
			"rule. It also reads what get prints, in any format. The token is not sent anywhere.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "-" {
				return usage("the token is read on standard input: vendctl token -")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			fingerprints, err := readFingerprints(cmd)
			if err != nil {
				return err
			}
			found, err := a.find(cmd, auditlog.Query{From: time.Now().Add(-time.Duration(p.since)), TokenSHA256: fingerprints})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return fmt.Errorf("the token: %w: in the time of --since the vendor gave it to nobody", errNotFound)
			}
			return printHoldings(cmd.OutOrStdout(), found, a.output)
		},
	}
	p.addFlags(cmd.Flags(), 24*time.Hour, "how long ago the token was given")
	return cmd
}
