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

	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

const (
	// targetPrefix is where secrets may be that tokens are delivered to: whoever writes
	// a schedule must not be able to overwrite a client's document, or the policy.
	targetPrefix = "token-vendor/tokens/"
	// leastLife is the least life that a delivered token is to have left.
	leastLife = 15 * time.Minute
	// writePause is how long a secret is left alone after it was written. Secrets
	// Manager asks for that, since it keeps versions for a day.
	//
	// Source: docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
	writePause = 10 * time.Minute
	// runMargin is more than passes between two runs of the schedule (the template's:
	// five minutes), so that whoever reads the secret before the next one finds enough.
	runMargin = 6 * time.Minute
)

// targets are the secrets that tokens are delivered to. The errors are those of
// [secret.Reader]; a secret that holds nothing yet is ErrNotFound.
type targets interface {
	Read(ctx context.Context, name string) (text []byte, written time.Time, err error)
	Write(ctx context.Context, name, id string, text []byte) error
}

// validTarget reports whether tokens may be delivered to a secret of that name.
func validTarget(name string) bool {
	rest, ok := strings.CutPrefix(name, targetPrefix)
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

// delivery says what a secret holds now.
type delivery struct {
	Client string `json:"client"`
	Target string `json:"deliver_to"`
	// Written: it was written now.
	Written bool `json:"written"`
	// ExpiresAt is when its token ends, in Unix seconds.
	ExpiresAt int64 `json:"expires_at,omitempty"`
}

// deliver keeps a token in a secret that has at least the asked life left, whenever it is
// read. Unless a better token is there, the secret stays as it is.
func (h *handler) deliver(ctx context.Context, e entry, asked token.Request) (delivery, error) {
	r := e.request
	r.MinTTL = max(r.MinTTL, leastLife)
	// Whoever can read the secret gets the token, so the secret is the caller.
	r.RequestID, r.Origin, r.Caller = asked.RequestID, asked.Origin, "deliver:"+strings.TrimPrefix(e.target, targetPrefix)
	t, _ := h.begin(ctx, "deliver "+e.target)
	if t == nil {
		// Another environment is at it, as when a schedule comes twice, or it was
		// written a moment ago.
		return delivery{Client: r.Client, Target: e.target}, nil
	}
	var until time.Time
	defer func() { t.end(ctx, until) }()
	d, err := h.refill(ctx, e.target, r, func() bool { return t.mine(ctx) })
	if d.Written {
		until = h.now().Add(writePause)
	}
	return d, err
}

// kept is what we read of a secret of ours.
type kept struct {
	AccessToken string `json:"access_token"`
	ExpiresAt   int64  `json:"expires_at"`
	// Request tells what was asked for.
	Request string `json:"request_sha256"`
}

func (h *handler) refill(ctx context.Context, target string, r token.Request, mine func() bool) (delivery, error) {
	now, want := h.now(), requestHash(r)
	d := delivery{Client: r.Client, Target: target}
	text, written, err := h.targets.Read(ctx, target)
	if err != nil && !errors.Is(err, secret.ErrNotFound) {
		return d, h.failed(r, targetFailure("read", err))
	}
	var there kept
	_ = json.Unmarshal(text, &there) // what isn't ours is as if nothing were there
	d.ExpiresAt = there.ExpiresAt
	ours := there.AccessToken != "" && there.Request == want
	if ours && time.Unix(there.ExpiresAt, 0).Sub(now) >= r.MinTTL+runMargin || err == nil && now.Sub(written).Abs() < writePause {
		return d, nil
	}
	ahead := r
	ahead.MinTTL += runMargin
	grant, err := h.vendor.Vend(ctx, ahead)
	if err != nil {
		return d, h.failed(r, err)
	}
	end := grant.Token.Expiry()
	if end.Sub(now) < leastLife {
		// Also one whose end isn't known.
		return d, h.failed(r, malformed("the authorization server's tokens live shorter than the 15 minutes that a delivery needs"))
	}
	if (!ours || end.Unix() > there.ExpiresAt) && mine() {
		text = delivered(grant, r.Client, want, now)
		if err := h.targets.Write(ctx, target, versionID(text), text); err != nil {
			return d, h.failed(r, targetFailure("written", err))
		}
		h.count(countDelivered)
		d.Written, d.ExpiresAt = true, end.Unix()
	}
	if end.Sub(grant.Token.Issued()) < r.MinTTL+writePause+runMargin {
		// It is the best there is, but somebody must know.
		return d, h.failed(r, malformed("min_ttl, 15 minutes if it is not said, cannot be kept: the tokens live too short to be replaced in time"))
	}
	return d, nil
}

// delivered is the token JSON with what tells us later what it is for.
func delivered(grant token.Grant, client, request string, now time.Time) []byte {
	text := bytes.TrimSuffix(grant.Token.AppendJSON(nil, now), []byte("}"))
	return append(text, `,"client":"`+client+`","request_sha256":"`+request+`"}`...)
}

// versionID makes writing the same again, as the SDK does when an answer is lost, the
// same version.
func versionID(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func requestHash(r token.Request) string {
	sum := sha256.Sum256(encode([]any{r.Client, r.Scope, r.Resource, r.Audience, r.TokenFormat, r.AppTID, r.Parameters}))
	return hex.EncodeToString(sum[:])
}

func targetFailure(what string, err error) error {
	e := &token.Error{Kind: token.Misconfigured, Description: "the secret of deliver_to cannot be " + what, Detail: "deliver_to: " + err.Error()}
	switch {
	case errors.Is(err, secret.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e.Kind, e.RetryAfter = token.Unavailable, time.Second
	case errors.Is(err, secret.ErrNotFound):
		e.Description, e.Detail = "there is no secret of the name in deliver_to", ""
	}
	return e
}
