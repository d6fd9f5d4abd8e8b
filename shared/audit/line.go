package audit

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// The longest texts of strangers in a line, in bytes: a line stays below 4 KiB, so
// that no log service cuts it.
const (
	maxText = 256
	maxList = 512
)

// line is a JSON object under construction.
type line []byte

// appendJSON appends the event as one JSON object without a line break.
func (e *Event) appendJSON(dst []byte, version string) []byte {
	l := line(append(dst, `{"schema":`...))
	l = strconv.AppendInt(l, Schema, 10)
	l.always("type", string(e.Type))
	l.always("time", e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	l.always("request_id", e.RequestID)
	l.origin(&e.Origin)
	l.always("caller", e.Caller)
	l.text("caller_id", e.Origin.CallerID)
	l.text("session", e.Origin.Session)
	l.always("client", e.Client)
	l.flag("dry_run", e.DryRun)
	l.list("scope_asked", e.Scope)
	l.list("resource", e.Resource)
	l.text("audience", e.Audience)
	l.text("token_format", e.TokenFormat)
	l.name("allowed")
	l = strconv.AppendBool(l, e.Allowed)
	l.text("mode", e.Mode)
	l.text("rule", e.Rule)
	l.flag("would_deny", e.WouldDeny)
	l.text("nearest_rule", e.Nearest)
	l.text("failed", e.Failed)
	l.always("outcome", e.Outcome)
	l.result(e)
	l.number("duration_ms", e.Duration.Milliseconds())
	l.text("version", version)
	return append(l, '}')
}

func (l *line) origin(o *Origin) {
	l.text("gateway_request_id", o.GatewayRequestID)
	l.text("extended_request_id", o.ExtendedRequestID)
	if !o.GatewayTime.IsZero() {
		l.always("gateway_time", o.GatewayTime.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	l.always("source", string(o.Source))
	l.text("source_ip", o.SourceIP)
	l.text("vpce", o.VPCE)
	l.text("alias", o.Alias)
}

// result is what came of the decision.
func (l *line) result(e *Event) {
	l.number("status", int64(e.Status))
	l.text("error", e.Error)
	l.text("detail", e.Detail)
	l.number("upstream_status", int64(e.UpstreamStatus))
	l.text("upstream_error", e.UpstreamError)
	l.text("correlation_id", e.CorrelationID)
	l.date("fuse_until", e.FuseUntil)
	l.text("issuer_host", e.IssuerHost)
	l.text("method", e.Method)
	l.text("token_sha256", e.TokenSHA256)
	l.list("scope_granted", e.GrantedScope)
	if !e.ExpiresAt.IsZero() {
		l.number("expires_at", e.ExpiresAt.Unix())
	}
	l.number("refresh_after", int64(e.RefreshAfter/time.Second))
	l.text("secret_version", e.SecretVersion)
	l.flag("certificate_bound", e.CertificateBound)
	l.date("certificate_not_after", e.CertificateNotAfter)
}

// name appends a comma and a member's name, which is ours.
func (l *line) name(name string) {
	*l = append(append(append(*l, `,"`...), name...), `":`...)
}

func (l *line) always(name, value string) {
	l.name(name)
	*l = appendText(*l, value, maxText)
}

func (l *line) text(name, value string) {
	if value != "" {
		l.always(name, value)
	}
}

func (l *line) flag(name string, value bool) {
	if value {
		l.name(name)
		*l = append(*l, "true"...)
	}
}

func (l *line) number(name string, value int64) {
	if value != 0 {
		l.name(name)
		*l = strconv.AppendInt(*l, value, 10)
	}
}

func (l *line) date(name string, value time.Time) {
	if !value.IsZero() {
		l.always(name, value.UTC().Format(time.RFC3339))
	}
}

// list appends a list of texts, as many as there is room for; of more, the last
// element says how many.
func (l *line) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	l.name(name)
	*l = append(*l, '[')
	room := maxList
	for i, value := range values {
		if i > 0 {
			*l = append(*l, ',')
		}
		if room -= len(value); room < 0 && i > 0 {
			*l = appendText(*l, "… and "+strconv.Itoa(len(values)-i)+" more", maxText)
			break
		}
		*l = appendText(*l, value, maxText)
	}
	*l = append(*l, ']')
}

// appendText appends text as a JSON string of at most limit bytes of it. What is no
// UTF-8, and the characters that some viewer takes for the end of a line or for a
// command, are escaped, so that nobody can write a line of his own.
func appendText(dst []byte, text string, limit int) []byte {
	const hex = "0123456789abcdef"
	cut := len(text) > limit
	if cut {
		for text = text[:limit]; text != "" && !utf8.RuneStart(text[len(text)-1]); {
			text = text[:len(text)-1]
		}
	}
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < 0x7f {
			if c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if r < 0x10000 {
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		} else {
			dst = append(dst, text[i:i+size]...)
		}
		i += size
	}
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}
