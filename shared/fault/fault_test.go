package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/cache"
)

// TestAnswers is the specification of the answers that callers get.
func TestAnswers(t *testing.T) {
	table := []struct {
		kind   Kind
		status int
		code   string
	}{
		{Internal, 500, "server_error"},
		{Malformed, 400, "invalid_request"},
		{UnsupportedGrant, 400, "unsupported_grant_type"},
		{InvalidScope, 400, "invalid_scope"},
		{InvalidTarget, 400, "invalid_target"},
		{Denied, 403, "access_denied"},
		{TooLarge, 413, "invalid_request"},
		{WrongMedia, 415, "invalid_request"},
		{WrongMethod, 405, "invalid_request"},
		{Misconfigured, 502, "server_error"},
		{Throttled, 429, "temporarily_unavailable"},
		{Unavailable, 503, "temporarily_unavailable"},
		{Timeout, 504, "temporarily_unavailable"},
		{Suspended, 403, "access_denied"},
	}
	if len(table) != len(answers) {
		t.Errorf("the specification has %d kinds, the code %d", len(table), len(answers))
	}
	for i, row := range table {
		if int(row.kind) != i {
			t.Errorf("kind %d stands in row %d", row.kind, i)
		}
		if row.kind.Status() != row.status || row.kind.Code() != row.code {
			t.Errorf("kind %d is %d %s, want %d %s", row.kind, row.kind.Status(), row.kind.Code(), row.status, row.code)
		}
		if row.kind.Temporary() != (row.code == "temporarily_unavailable") || row.kind.Valid() != (i > 0) {
			t.Errorf("kind %d: temporary %v, valid %v", row.kind, row.kind.Temporary(), row.kind.Valid())
		}
	}
	if Kind(len(answers)).Valid() || Kind(-1).Valid() {
		t.Error("a number without an answer is valid")
	}
	var zero Error
	if zero.Kind != Internal {
		t.Error("the zero kind is not Internal")
	}
}

// TestFromHidesForeignErrors: a foreign error becomes Internal, and its text is left out.
func TestFromHidesForeignErrors(t *testing.T) {
	ours := &Error{Kind: Denied, Description: "no", Detail: "why"}
	const foreign = "secret arn:aws:iam::111122223333:role/x"
	for _, test := range []struct {
		name string
		err  error
		want Kind
	}{
		{"ours", ours, Denied},
		{"ours, wrapped", fmt.Errorf(foreign+": %w", ours), Denied},
		{"foreign", errors.New(foreign), Internal},
		{"foreign, joined", errors.Join(io.EOF, errors.New(foreign)), Internal},
		{"deadline", fmt.Errorf(foreign+": %w", context.DeadlineExceeded), Timeout},
		{"canceled", context.Canceled, Timeout},
		{"too many wait", cache.ErrBusy, Unavailable},
		{"frozen past the end", cache.ErrExpired, Unavailable},
		{"in backoff", &cache.BackoffError{Err: ours}, Denied},
		{"nil", nil, Internal},
	} {
		e := From(test.err)
		if e.Kind != test.want {
			t.Errorf("%s: got kind %d, want %d", test.name, e.Kind, test.want)
		}
		if text := e.Error() + e.Description + e.Detail; strings.Contains(text, "arn:") || strings.Contains(text, "secret") {
			t.Errorf("%s: the text of a foreign error came through", test.name)
		}
	}
}

func TestInBackoffSaysWhenItEnds(t *testing.T) {
	now := time.Now()
	busy := &cache.BackoffError{Err: errors.New("down"), Until: now.Add(7 * time.Second)}
	for _, test := range []struct {
		name string
		e    *Error
		err  error
		want time.Duration
	}{
		{"temporary", &Error{Kind: Unavailable, RetryAfter: time.Minute}, busy, 7 * time.Second},
		{"not temporary", &Error{Kind: Misconfigured}, busy, 0},
		{"no backoff", &Error{Kind: Unavailable, RetryAfter: time.Minute}, errors.New("down"), time.Minute},
		{"over", &Error{Kind: Throttled}, &cache.BackoffError{Err: errors.New("down"), Until: now.Add(-time.Hour)}, time.Second},
	} {
		before := *test.e
		if got := test.e.InBackoff(test.err, now); got.RetryAfter != test.want || *test.e != before {
			t.Errorf("%s: got %v, want %v", test.name, got.RetryAfter, test.want)
		}
	}
}

// TestCatch: a panic is an error, and its value is in no log.
func TestCatch(t *testing.T) {
	var out bytes.Buffer
	log, id := slog.New(slog.NewJSONHandler(&out, nil)), ""
	err := Catch(log, &id, func() error {
		id = "request-1"
		panic(errors.New("cnry-value"))
	})
	if From(err).Kind != Internal {
		t.Errorf("got %v", err)
	}
	line := out.String()
	for _, want := range []string{`"requestId":"request-1"`, `"type":"*errors.errorString"`, "fault.TestCatch"} {
		if !strings.Contains(line, want) {
			t.Errorf("the log %q lacks %s", line, want)
		}
	}
	if strings.Contains(line+err.Error(), "cnry") {
		t.Error("the panic's value came through")
	}
	want := errors.New("own")
	if got := Catch(log, &id, func() error { return want }); got != want {
		t.Errorf("got %v", got)
	}
}

func TestDocument(t *testing.T) {
	e := &Error{Kind: Misconfigured, Description: "bad \"quote\"\n", Upstream: &Upstream{Status: 401, Code: "invalid_client"}}
	want := `{"error":"server_error","error_description":"bad ?quote??","request_id":"r-1","upstream":{"status":401,"error":"invalid_client"}}`
	if got := string(e.AppendJSON(nil, "r-1")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
