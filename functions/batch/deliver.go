package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

const (
	// leastLife is the least life that a delivered token must have left.
	leastLife = 15 * time.Minute
	// writePause is how long a secret is not written again. Secrets Manager asks for that,
	// since it keeps versions for a day.
	//
	// Source: docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
	writePause = 10 * time.Minute
	// runMargin is more than the time between two runs of the schedule (the template's: five
	// minutes), so that a reader of the secret finds enough life before the next run.
	runMargin = 6 * time.Minute
)

// targets are the secrets that tokens are delivered to. The errors are those of
// [secret.Reader]; a secret that holds nothing yet is ErrNotFound.
type targets interface {
	Read(ctx context.Context, name string) (text []byte, written time.Time, err error)
	Write(ctx context.Context, name, id string, text []byte) error
}

// validTarget reports whether tokens may be delivered to a secret of that name: the author of
// a schedule must not be able to overwrite a client's document, or the policy. prefix is that
// of [deliverer].
func validTarget(prefix, name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok || len(name) > 200 {
		return false
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, notTargetByte) {
			return false
		}
	}
	return true
}

func notTargetByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_+=.@-", r)
}

// deliverer keeps tokens in secrets.
type deliverer struct {
	orders
	targets targets
	// prefix begins the names of all secrets that tokens are delivered to.
	prefix string
}

// delivery is the state of a secret.
type delivery struct {
	Client string `json:"client"`
	Target string `json:"deliver_to"`
	// Written means that it was written now.
	Written bool `json:"written"`
	// ExpiresAt is when its token ends, in Unix seconds.
	ExpiresAt int64 `json:"expires_at,omitempty"`
}

// deliver keeps a token in a secret that has at least the asked life left, whenever it is
// read. Unless a better token is there, the secret stays as it is. problem is what is wrong
// with the entry.
func (w *deliverer) deliver(ctx context.Context, e *entry, problem error) (delivery, error) {
	if problem != nil {
		return delivery{}, w.refuse(ctx, w.asked(ctx, audit.Schedule, e.ID, ""), problem)
	}
	r := *e.Request
	r.MinTTL = max(r.MinTTL, leastLife)
	// Any principal that can read the secret gets the token, so the secret is the caller.
	r.Caller, r.Order = "deliver:"+strings.TrimPrefix(e.target, w.prefix), true
	a := w.acquire(ctx, "deliver "+e.target)
	if a.State != fleet.Acquired && a.State != fleet.Alone {
		// Another environment does the same, as when a schedule comes twice, or the secret
		// was written a moment ago.
		return delivery{Client: r.Client, Target: e.target}, nil
	}
	var until time.Time
	defer func() { end(ctx, a.Lease, until) }()
	d, err := w.refill(ctx, e.target, r, func() bool { return a.Lease.Confirm(ctx) })
	if d.Written {
		until = w.now().Add(writePause)
	}
	return d, err
}

// kept is the part of a delivered secret that is read again.
type kept struct {
	AccessToken string `json:"access_token"`
	ExpiresAt   int64  `json:"expires_at"`
	// Request is the hash of what was asked for.
	Request string `json:"request_sha256"`
}

// refill writes a new token to the secret if the one there ends too soon.
func (w *deliverer) refill(ctx context.Context, target string, r token.Request, confirm func() bool) (delivery, error) {
	now, want := w.now(), requestHash(&r)
	d := delivery{Client: r.Client, Target: target}
	text, written, err := w.targets.Read(ctx, target)
	if err != nil && !errors.Is(err, secret.ErrNotFound) {
		return d, w.refuse(ctx, r, targetFault("read", err))
	}
	var current kept
	_ = json.Unmarshal(text, &current) // a foreign text counts as none
	d.ExpiresAt = current.ExpiresAt
	ours := current.AccessToken != "" && current.Request == want
	if ours && time.Unix(current.ExpiresAt, 0).Sub(now) >= r.MinTTL+runMargin || err == nil && now.Sub(written).Abs() < writePause {
		return d, nil
	}
	grant, err := w.vendor.Vend(ctx, func(ahead *token.Request) error {
		*ahead = r
		ahead.MinTTL += runMargin
		return nil
	})
	if err != nil {
		w.count(countJobsFailed)
		return d, err
	}
	end := grant.Token.Expiry()
	if problem := tooShort(grant, now); problem != nil {
		return d, w.refuse(ctx, r, problem)
	}
	if (!ours || end.Unix() > current.ExpiresAt) && confirm() {
		text = delivered(grant, r.Client, want, now)
		if err := w.targets.Write(ctx, target, versionID(text), text); err != nil {
			return d, w.refuse(ctx, r, targetFault("written", err))
		}
		w.count(countDelivered)
		d.Written, d.ExpiresAt = true, end.Unix()
	}
	if diesEarly(grant, r.MinTTL) {
		// The token is the best there is, but an operator must know.
		return d, w.refuse(ctx, r, fault.Invalid("min_ttl, 15 minutes if it is not said, cannot be kept: the tokens live too short to be replaced in time"))
	}
	return d, nil
}

// tooShort returns the error of a token that is not worth a delivery, which is also that of a
// server that does not say how long a token lives. A single token is delivered all the same: no
// other one comes before its end.
func tooShort(grant token.Grant, now time.Time) error {
	t := grant.Token
	if t.Expiry().Sub(now) >= leastLife || t.Single() && now.Before(t.Expiry()) {
		return nil
	}
	return fault.Invalid("the authorization server's tokens live shorter than the 15 minutes that a delivery needs")
}

// diesEarly reports whether a new token cannot be replaced in time to have minTTL left always.
func diesEarly(grant token.Grant, minTTL time.Duration) bool {
	return grant.Token.Life() < minTTL+writePause+runMargin && !grant.Token.Single()
}

// delivered returns the token JSON with the client and the hash of the request.
func delivered(grant token.Grant, client, request string, now time.Time) []byte {
	text := bytes.TrimSuffix(grant.Token.AppendJSON(nil, now), []byte("}"))
	return append(text, `,"client":"`+client+`","request_sha256":"`+request+`"}`...)
}

// versionID names the version after its content, so that the SDK's retry after a lost answer
// writes the same version.
func versionID(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// requestHash covers everything that is asked for, so that a schedule that is changed replaces
// the token.
func requestHash(r *token.Request) string {
	sum := r.Key()
	return hex.EncodeToString(sum[:])
}

// targetFault returns an error of a target's secret as the schedule's result has it.
func targetFault(what string, err error) error {
	e := &fault.Error{Kind: fault.Misconfigured, Description: "the secret of deliver_to cannot be " + what, Detail: "deliver_to: " + err.Error()}
	switch {
	case errors.Is(err, secret.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e.Kind, e.RetryAfter = fault.Unavailable, time.Second
	case errors.Is(err, secret.ErrNotFound):
		e.Description, e.Detail = "there is no secret of the name in deliver_to", ""
	}
	return e
}
