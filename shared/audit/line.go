package audit

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits in bytes. All texts but those of the ask and the granted scope together have at most
// maxTexts, each at most maxText, and the detail, which says what to do, at most maxDetail. A request has at most 8 KiB and its text grows threefold by
// escapes at most, so maxAsk truncates no ask. The granted scope is the server's text, and is
// truncated at maxGranted. A line then has less than the 256 KiB at which log services
// truncate. Long texts that callers choose come last, so that they cannot displace others.
//
// Source: docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
const (
	maxText    = 256
	maxDetail  = 1 << 10
	maxTexts   = 2700
	maxAsk     = 32 << 10
	maxGranted = 64 << 10
)

// line is a JSON object under construction.
type line struct {
	text []byte
	// room is the number of bytes left for texts, and longest is the limit of one text.
	room, longest int
}

// newLine returns a line with memory for a usual event.
func newLine() *line { return &line{text: make([]byte, 0, 1024)} }

// event makes l the event as a JSON object with a newline.
func (l *line) event(e *Event, version string) {
	l.text, l.room, l.longest = l.text[:0], maxTexts, maxText
	l.text = strconv.AppendInt(append(l.text, `{"schema":`...), Schema, 10)
	l.always("type", string(e.Type))
	l.stamp("time", e.Time)
	l.always("request_id", e.RequestID)
	l.origin(&e.Origin)
	l.always("caller", e.Caller)
	l.given("caller_id", e.Origin.CallerID)
	l.given("session", e.Origin.Session)
	l.always("client", e.Client)
	l.given("claim_id", e.ClaimID)
	l.flag("dry_run", e.DryRun)
	l.flag("ahead", e.Ahead)
	l.name("allowed")
	l.text = strconv.AppendBool(l.text, e.Allowed)
	l.given("mode", e.Mode)
	l.given("rule", e.Rule)
	l.flag("would_deny", e.WouldDeny)
	l.given("nearest_rule", e.Nearest)
	l.given("failed", e.Failed)
	l.always("outcome", e.Outcome)
	l.result(e)
	l.number("duration_ms", e.Duration.Milliseconds())
	l.given("version", version)
	l.longest = maxDetail
	l.given("detail", e.Detail)
	l.room, l.longest = maxAsk, maxAsk
	l.given("token_format", e.TokenFormat)
	l.given("audience", e.Audience)
	l.given("app_tid", e.AppTID)
	l.list("scope_asked", e.Scope)
	l.list("resource", e.Resource)
	l.pairs("parameters", e.Parameters)
	l.room, l.longest = maxGranted, maxGranted
	l.list("scope_granted", e.GrantedScope)
	l.text = append(l.text, '}', '\n')
}

// stamp appends a time with milliseconds, and date one with seconds.
func (l *line) stamp(name string, t time.Time) { l.time(name, t, "2006-01-02T15:04:05.000Z07:00") }

func (l *line) date(name string, t time.Time) {
	if !t.IsZero() {
		l.time(name, t, time.RFC3339)
	}
}

func (l *line) time(name string, t time.Time, layout string) {
	l.name(name)
	l.text = append(t.UTC().AppendFormat(append(l.text, '"'), layout), '"')
}

func (l *line) origin(o *Origin) {
	l.given("gateway_request_id", o.GatewayRequestID)
	if !o.GatewayTime.IsZero() {
		l.stamp("gateway_time", o.GatewayTime)
	}
	l.always("source", string(o.Source))
	l.given("source_ip", o.SourceIP)
	l.given("vpce", o.VPCE)
	l.given("alias", o.Alias)
	l.given("message_id", o.MessageID)
	l.given("trace_id", o.TraceID)
	l.given("traceparent", o.Traceparent)
}

// result appends the result of the request.
func (l *line) result(e *Event) {
	l.number("status", int64(e.Status))
	l.given("error", e.Error)
	l.number("upstream_status", int64(e.UpstreamStatus))
	l.given("upstream_error", e.UpstreamError)
	l.given("correlation_id", e.CorrelationID)
	l.date("fuse_until", e.FuseUntil)
	l.given("issuer_host", e.IssuerHost)
	l.given("method", e.Method)
	l.given("token_sha256", e.TokenSHA256)
	if !e.ExpiresAt.IsZero() {
		l.number("expires_at", e.ExpiresAt.Unix())
	}
	l.number("refresh_after", int64(e.RefreshAfter/time.Second))
	l.given("secret_version", e.SecretVersion)
	l.given("document_version", e.DocumentVersion)
	l.flag("certificate_bound", e.CertificateBound)
	l.date("certificate_not_after", e.CertificateNotAfter)
}

// name appends a comma and a member's name, which needs no escaping.
func (l *line) name(name string) {
	l.text = append(append(append(l.text, `,"`...), name...), `":`...)
}

func (l *line) always(name, value string) {
	l.name(name)
	l.quote(value)
}

func (l *line) given(name, value string) {
	if value != "" {
		l.always(name, value)
	}
}

func (l *line) flag(name string, value bool) {
	if value {
		l.name(name)
		l.text = append(l.text, "true"...)
	}
}

func (l *line) number(name string, value int64) {
	if value != 0 {
		l.name(name)
		l.text = strconv.AppendInt(l.text, value, 10)
	}
}

// list appends a list of texts. If there is no room for all, the last element is the number
// of those that are left out, such as "+3".
func (l *line) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	l.name(name)
	l.text = append(l.text, '[')
	for i, value := range values {
		if i > 0 {
			l.text = append(l.text, ',')
		}
		if i > 0 && l.room < len(value) {
			l.text = append(append(append(l.text, `"+`...), strconv.Itoa(len(values)-i)...), '"')
			break
		}
		l.quote(value)
	}
	l.text = append(l.text, ']')
}

// pairs appends an object of texts, sorted by name. If there is no room for all, the value
// of the member "+" is the number of those that are left out.
func (l *line) pairs(name string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	l.name(name)
	from := len(l.text)
	for i, key := range slices.Sorted(maps.Keys(values)) {
		l.text = append(l.text, ',')
		if l.room < len(key)+len(values[key]) {
			l.text = append(strconv.AppendInt(append(l.text, `"+":"`...), int64(len(values)-i), 10), '"')
			break
		}
		l.quote(key)
		l.text = append(l.text, ':')
		l.quote(values[key])
	}
	l.text[from] = '{'
	l.text = append(l.text, '}')
}

// quote appends a text as a JSON string, truncated to the limit of one text and to the room
// left. Invalid UTF-8, control characters and all others outside ASCII up to U+FFFF are
// escaped: a viewer could take one for a line break or a command, and a caller could forge
// a line.
func (l *line) quote(text string) {
	const hex = "0123456789abcdef"
	limit := min(l.longest, l.room)
	if len(text)+5 <= limit && plain(text) { // the loop would truncate at no character
		l.room -= len(text)
		l.text = append(append(append(l.text, '"'), text...), '"')
		return
	}
	dst := append(l.text, '"')
	from := len(dst)
	for i := 0; i < len(text); {
		// An escape, the longest form of a character, has 6 bytes.
		if len(dst)-from+6 > limit {
			dst = append(dst, "..."...)
			break
		}
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
	l.room -= len(dst) - from
	l.text = append(dst, '"')
}

// plain reports whether quote escapes nothing in text.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
