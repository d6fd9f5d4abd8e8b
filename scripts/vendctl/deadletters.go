package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/deadletter"
)

// openDeadLetters returns the dead-letter queue of the stack.
func (a *access) openDeadLetters(cmd *cobra.Command) (*deadletter.Queue, error) {
	warn := func(err error) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), "vendctl: warning:", err) }
	if a.local != "" {
		s, err := a.readStack()
		if err != nil {
			return nil, err
		}
		if s.DeadLetters == "" {
			return nil, a.missing("dead-letter queue")
		}
		return &deadletter.Queue{API: sqs.NewFromConfig(s.aws()), URL: s.DeadLetters, Orders: s.Orders, Warn: warn}, nil
	}
	if a.stack == "" {
		return nil, errNoStack("whose queue?")
	}
	cfg, err := a.aws(cmd.Context())
	if err != nil {
		return nil, err
	}
	outputs, err := a.outputs(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	if outputs["BatchDeadLetterQueueUrl"] == "" {
		return nil, a.missing("output BatchDeadLetterQueueUrl, so that it has no batch function")
	}
	return &deadletter.Queue{API: sqs.NewFromConfig(cfg), URL: outputs["BatchDeadLetterQueueUrl"], Orders: outputs["BatchQueueUrl"], Warn: warn}, nil
}

// deadRow is a message of the dead-letter queue, as it is printed.
type deadRow struct {
	ID          string            `json:"id"`
	OrderID     string            `json:"order_id"`
	Sent        time.Time         `json:"sent"`
	From        deadletter.Source `json:"from"`
	Client      string            `json:"client,omitempty"`
	Error       string            `json:"error,omitempty"`
	Description string            `json:"error_description,omitempty"`
	// Result is what redrive did: put back, would be put back, left or refused, and Left is why.
	Result string `json:"result,omitempty"`
	Left   string `json:"left,omitempty"`
}

func newDeadRow(m *deadletter.Message) *deadRow {
	return &deadRow{m.ID, m.OrderID, m.Sent, m.Source, m.Client, m.Error, m.Description, "", ""}
}

func newDeadLetters(a *access) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Print the orders that the batch function could not do, or put them back",
		Long: "dead-letters prints the messages of the dead-letter queue: when each was sent, who sent it, its client, and the reason. It prints\n" +
			"nothing else of a message. FROM is queue for an order of the queue; invoke and rule stand for AWS Lambda and EventBridge, whose\n" +
			"messages are no orders. Other readers do not see the messages meanwhile. It needs sqs:ReceiveMessage and\n" +
			"sqs:ChangeMessageVisibility for the queue.",
		Args: exactly(0, "none, or redrive"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.openDeadLetters(cmd)
			if err != nil {
				return err
			}
			rows, progress := []*deadRow{}, a.progress(cmd)
			defer progress.clear()
			for m, err := range q.Messages(cmd.Context()) {
				if err != nil {
					return err
				}
				rows = append(rows, newDeadRow(m))
				progress.show("reading the dead-letter queue: %d messages", len(rows))
			}
			progress.clear()
			slices.SortFunc(rows, func(a, b *deadRow) int { return cmp.Or(a.Sent.Compare(b.Sent), cmp.Compare(a.ID, b.ID)) })
			return printDeadRows(cmd.OutOrStdout(), rows, a.output)
		},
	}
	cmd.AddCommand(newRedrive(a))
	return cmd
}

func printDeadRows(out io.Writer, rows []*deadRow, output string) error {
	if output == "json" {
		return json.NewEncoder(out).Encode(rows)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "SENT\tID\tFROM\tCLIENT\tERROR\tDESCRIPTION")
	for _, row := range rows {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", stamp(row.Sent), printable(row.ID), row.From, cmp.Or(row.Client, "-"), printable(cmp.Or(row.Error, "-")), printable(cmp.Or(row.Description, "-")))
	}
	return table.Flush()
}

// redrive puts orders back into their queue.
type redrive struct {
	queue *deadletter.Queue
	// id is that of the only message that is meant; empty: all are.
	id       string
	dry      bool
	out      io.Writer
	json     bool
	progress *progress
	// seen, sent, left and refused are how many messages were read, put back, left, and refused by
	// the queue of orders.
	seen, sent, left, refused int
}

func newRedrive(a *access) *cobra.Command {
	var r redrive
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Put orders of the dead-letter queue back into the queue of orders",
		Long: "redrive sends each order to the queue of orders, and deletes it from the dead-letter queue after that has succeeded. Mend the reason\n" +
			"first: an order that fails again comes back. Messages that are no orders of the queue are left, with a line that says so. It also\n" +
			"needs sqs:DeleteMessage for the queue, and sqs:SendMessage for that of the orders.",
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if r.queue, err = a.openDeadLetters(cmd); err != nil {
				return err
			}
			if r.queue.Orders == "" {
				return a.missing("output BatchQueueUrl: it takes no orders from a queue (BatchQueue)")
			}
			r.out, r.json, r.progress = cmd.OutOrStdout(), a.output == "json", a.progress(cmd)
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&r.id, "id", "", "only the message with this id, or the order that had it")
	cmd.Flags().BoolVar(&r.dry, "dry-run", false, "print what would be done only")
	return cmd
}

func (r *redrive) run(ctx context.Context) error {
	err := r.all(ctx)
	r.progress.clear()
	switch {
	case err == nil && r.id != "" && r.sent+r.refused == 0:
		return fmt.Errorf("--id: %w: the dead-letter queue has no such message", errNotFound)
	case err == nil && r.refused > 0:
		err = fmt.Errorf("the queue of orders has refused %d messages", r.refused)
	}
	if r.json || err != nil && r.id != "" {
		return err
	}
	// After an error, too: the messages that were put back do not come again.
	_, failure := fmt.Fprintf(r.out, "%d %s, %d left\n", r.sent, r.verb(), r.left+r.refused)
	return cmp.Or(err, failure)
}

// all puts all messages back that are meant.
func (r *redrive) all(ctx context.Context) error {
	for m, err := range r.queue.Messages(ctx) {
		if err != nil {
			return err
		}
		r.seen++
		r.progress.show("reading the dead-letter queue: %d messages, %d put back", r.seen, r.sent)
		if r.id != "" && m.ID != r.id && m.OrderID != r.id {
			continue
		}
		if err := r.one(ctx, m); err != nil {
			return err
		}
		if r.id != "" {
			return nil
		}
	}
	return nil
}

func (r *redrive) verb() string {
	if r.dry {
		return "would be put back"
	}
	return "put back"
}

// one puts a message back, or says why not.
func (r *redrive) one(ctx context.Context, m *deadletter.Message) error {
	row := newDeadRow(m)
	switch {
	case m.Left != "" && r.id != "":
		return fmt.Errorf("message %s is left: %s", m.ID, m.Left)
	case m.Left != "":
		r.left++
		row.Result, row.Left = "left", m.Left
	case r.dry:
		r.sent++
		row.Result = r.verb()
	default:
		sent, err := r.queue.Redrive(ctx, m)
		if sent {
			r.sent++
		}
		var refused *deadletter.RefusedError
		switch {
		case errors.As(err, &refused):
			r.refused++
			row.Result, row.Left = "refused", refused.Error()
		case err != nil:
			return err
		default:
			row.Result = r.verb()
		}
	}
	r.progress.clear()
	if r.json {
		return json.NewEncoder(r.out).Encode(row)
	}
	text := row.Result
	if row.Left != "" {
		text += ": " + row.Left
	}
	_, err := fmt.Fprintf(r.out, "%s  %s  %s\n", printable(row.ID), cmp.Or(row.Client, "-"), text)
	return err
}
