package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tokenvendor/shared/client"
	"tokenvendor/shared/radar"
)

// jobsAlias follows the ARN of the batch function in that of the alias for direct invokes.
const jobsAlias = ":jobs"

// reread is what the batch function found: an element of the answer that functions/batch/radar.go
// describes.
type reread struct {
	Client string      `json:"client"`
	State  radar.State `json:"state"`
	// Days is how many are left of the credential; nil: it has no end, or that is not known.
	Days    *int     `json:"days_to_expiry,omitempty"`
	Problem string   `json:"problem,omitempty"`
	Events  []string `json:"events,omitempty"`
}

func newClientReread(a *access) *cobra.Command {
	return &cobra.Command{
		Use:   "reread NAME",
		Short: "Let the vendor examine a client now",
		Long: "reread has the batch function examine the client, as the radar does: it reads the document, tries a new or a refused credential\n" +
			"once, unless the vendor holds that back after failed logons, and says what it found. Environments of the token function read a\n" +
			"new version within five minutes by themselves, and at once if the old credential fails.\n\n" +
			"It needs lambda:InvokeFunction for the stack's output BatchFunctionAlias. Exit codes: 0 there is a token, 6 the credential or\n" +
			"the document is at fault, 5 the problem is temporary or nothing could be tried, 4 there is no such client.",
		Args: oneClient, ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := a.reread(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := found.print(cmd.OutOrStdout(), a.output); err != nil {
				return err
			}
			return a.problemOf(cmd.Context(), found)
		},
	}
}

// reread lets the batch function examine a client.
func (a *access) reread(ctx context.Context, name string) (*reread, error) {
	cfg, err := a.batch(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Log = a.log
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	event, err := json.Marshal(map[string][]string{"radar": {name}})
	if err != nil {
		return nil, err
	}
	text, err := c.Invoke(ctx, event)
	if err != nil {
		return nil, err
	}
	var answer struct{ Results []reread }
	if json.Unmarshal(text, &answer) != nil || len(answer.Results) != 1 || answer.Results[0].Client != name || answer.Results[0].State == "" {
		return nil, errors.New("the batch function's answer is no examination of the client")
	}
	return &answer.Results[0], nil
}

// batch returns the configuration of a client that invokes the batch function.
func (a *access) batch(ctx context.Context) (cfg client.Config, err error) {
	if a.local != "" {
		s, err := a.readStack()
		if err != nil {
			return cfg, err
		}
		if s.BatchURL == "" {
			return cfg, a.missing("batch function")
		}
		if cfg, err = a.localConfig(); err != nil {
			return cfg, err
		}
		cfg.URLs, cfg.AWS.BaseEndpoint = []string{s.functionARN(s.BatchName) + jobsAlias}, &s.BatchURL
		return cfg, nil
	}
	if a.stack == "" {
		return cfg, errNoStack("whose client?")
	}
	if cfg.AWS, err = a.aws(ctx); err != nil {
		return cfg, err
	}
	outputs, err := a.outputs(ctx, cfg.AWS)
	if err != nil {
		return cfg, err
	}
	if outputs["BatchFunctionAlias"] == "" {
		return cfg, a.missing("output BatchFunctionAlias, so that it has no batch function (Batch)")
	}
	cfg.URLs = []string{outputs["BatchFunctionAlias"]}
	return cfg, nil
}

func (f *reread) print(out io.Writer, output string) error {
	if output == "json" {
		return json.NewEncoder(out).Encode(f)
	}
	text := "client " + f.Client + ": " + printable(string(f.State))
	if f.Days != nil {
		text += fmt.Sprintf(", days to its end: %d", *f.Days)
	}
	if len(f.Events) > 0 {
		text += ", events: " + printable(strings.Join(f.Events, " "))
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// examinationError says why a client gets no tokens.
type examinationError struct {
	text string
	code int // the exit code
}

// Error implements error.
func (e *examinationError) Error() string { return e.text }

// problemOf returns the error that a state means; nil: the client gets tokens.
func (a *access) problemOf(ctx context.Context, f *reread) error {
	problem := &examinationError{"client " + f.Client + ": " + printable(cmp.Or(f.Problem, "there is no token")), exitFailed}
	switch f.State {
	case radar.Good:
		return nil
	case radar.Refused, radar.StandIn, radar.Failing:
		problem.code = exitCredential
	case radar.Temporary:
		problem.code = exitTemporary
	case radar.Unknown:
		problem.code = exitTemporary
		// The state is also that of a client that is frozen.
		if v, err := a.openVault(ctx); err == nil {
			if _, _, err := v.versions(ctx, f.Client); errors.Is(err, errNotFound) {
				return err
			}
		}
	}
	return problem
}
