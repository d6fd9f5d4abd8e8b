package auditlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

// maxRows is how many rows a query of CloudWatch Logs Insights returns at most.
//
// Source: docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-Limit.html
const maxRows = 10_000

// pollInterval is the pause between two questions for the results of a query.
const pollInterval = 500 * time.Millisecond

// stopTimeout limits the call that ends a query after an interrupt.
const stopTimeout = 2 * time.Second

// CloudWatch is the log of a stack in AWS. It needs the permissions logs:StartQuery and
// logs:GetQueryResults, and with logs:StopQuery it ends a query that was interrupted.
type CloudWatch struct {
	API *cloudwatchlogs.Client
	// Groups are the names of the log groups.
	Groups []string
	// Progress is called with what part of the time was read, from 0 to 1; nil: nothing is.
	Progress func(part float64)

	maxRows int // 0: maxRows
}

// Read implements [Log]. CloudWatch Logs has a line some seconds after it was written.
func (c *CloudWatch) Read(ctx context.Context, q Query, each func(*Line) error) error {
	if q.To.IsZero() {
		q.To = time.Now()
	}
	if !q.Valid() {
		return errors.New("a client, a caller or a token of the query has characters that no line has")
	}
	// A line is written at the end of its decision.
	return c.read(ctx, q, q.From.Unix(), q.To.Add(longestDecision).Unix(), each)
}

// longestDecision is more than the timeout of the functions.
const longestDecision = time.Minute

// read reads the lines of q that were written between two seconds, which it includes. If there are
// too many, it reads its halves.
func (c *CloudWatch) read(ctx context.Context, q Query, from, to int64, each func(*Line) error) error {
	rows, err := c.query(ctx, q, from, to)
	if errors.Is(err, errTooOld) && to < q.To.Add(longestDecision).Unix() {
		// The first half of a time that has lines in its second one.
		rows, err = nil, nil
	}
	if err != nil {
		return err
	}
	if len(rows) >= cmp.Or(c.maxRows, maxRows) {
		if from >= to {
			return errors.New("there are more lines in one second than CloudWatch Logs Insights returns: give --client or --caller")
		}
		middle := from + (to-from)/2
		if err := c.read(ctx, q, from, middle, each); err != nil {
			return err
		}
		return c.read(ctx, q, middle+1, to, each)
	}
	if c.Progress != nil {
		begin, end := q.From.Unix(), q.To.Add(longestDecision).Unix()
		c.Progress(float64(to-begin) / float64(end-begin))
	}
	for _, row := range rows {
		if l := parse([]byte(row)); l != nil && q.has(l) {
			if err := each(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// errTooOld is the error of a query whose time ends before the log group was created, or is over its
// retention.
//
// Source: docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
var errTooOld = errors.New("CloudWatch Logs has no lines of this time: the log group is younger, or keeps its lines for a shorter time")

// query returns the messages of one query.
func (c *CloudWatch) query(ctx context.Context, q Query, from, to int64) (rows []string, err error) {
	conditions := []string{"ispresent(schema)"}
	for _, is := range []struct{ field, value string }{{"client", q.Client}, {"caller", q.Caller}} {
		if is.value != "" {
			conditions = append(conditions, is.field+` = "`+is.value+`"`)
		}
	}
	if len(q.TokenSHA256) > 0 {
		conditions = append(conditions, `token_sha256 in ["`+strings.Join(q.TokenSHA256, `", "`)+`"]`)
	}
	if q.Refused {
		conditions = append(conditions, "allowed = 0")
	}
	started, err := c.API.StartQuery(ctx, &cloudwatchlogs.StartQueryInput{
		LogGroupNames: c.Groups, Limit: aws.Int32(maxRows), StartTime: aws.Int64(from), EndTime: aws.Int64(to),
		QueryString: aws.String("fields @message | filter " + strings.Join(conditions, " and ") + " | sort @timestamp asc"),
	})
	var malformed *types.MalformedQueryException
	if errors.As(err, &malformed) {
		return nil, errTooOld // the query itself is always well formed
	}
	if err != nil {
		return nil, problem(err)
	}
	defer func() {
		if ctx.Err() != nil {
			c.stop(ctx, started.QueryId)
		}
	}()
	for {
		got, err := c.API.GetQueryResults(ctx, &cloudwatchlogs.GetQueryResultsInput{QueryId: started.QueryId})
		if err != nil {
			return nil, problem(err)
		}
		switch got.Status {
		case types.QueryStatusComplete:
			return messages(got.Results), nil
		case types.QueryStatusScheduled, types.QueryStatusRunning:
		default:
			return nil, fmt.Errorf("CloudWatch Logs ended the query with the status %s", got.Status)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// stop ends a query, which would otherwise go on and count among those that an account may run at
// once. If it fails, the query ends by itself.
func (c *CloudWatch) stop(ctx context.Context, id *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	_, _ = c.API.StopQuery(ctx, &cloudwatchlogs.StopQueryInput{QueryId: id})
}

func messages(results [][]types.ResultField) (rows []string) {
	for _, fields := range results {
		for _, field := range fields {
			if aws.ToString(field.Field) == "@message" {
				rows = append(rows, aws.ToString(field.Value))
			}
		}
	}
	return rows
}

// problem returns an error without the text of AWS, which holds ARNs.
func problem(err error) error {
	var failure smithy.APIError
	if errors.As(err, &failure) {
		return errors.New("CloudWatch Logs answers " + failure.ErrorCode())
	}
	return errors.New("CloudWatch Logs cannot be asked: check the credentials and the network")
}
