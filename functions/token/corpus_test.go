package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// row is one row of testdata/bad: inputs that must be answered alike. Members that are left out
// are those of a good event.
type row struct {
	// File is the name of the row's file, without its extension; it is not in the file.
	File string
	Name string
	// Shape lists the kinds of event: v1 (REST API), v2 (HTTP API). Empty: both.
	Shape []string
	// Alias is the invoked one; "-": none; empty: the one that the gate accepts.
	Alias string

	// Inputs. Each element of a list is an event of its own.
	Method  []text
	Client  []text // the path parameter
	ARN     []text // the caller's
	Type    []text // Content-Type; "json" and "form" are short for the two good ones
	Body    []text
	Payload []text // a whole event; makes it a direct invoke

	// Path replaces the raw path, Raw only what follows /token/ in it.
	Path, Raw string
	// Base64 is "flagged" or "plain" to send the body unchanged with or without the flag.
	// Empty: without, and encoded with it.
	Base64      string
	Query       string
	Headers     map[string]text
	HeaderCount int
	// Multi replaces multiValueHeaders of v1.
	Multi map[string][]string
	// Set replaces the value at a dotted path, Delete removes it.
	Set    map[string]json.RawMessage
	Delete []string

	// Status and Error are those of the answer, Says is a part of error_description. For a
	// direct invoke only whether Status is 200 counts.
	Status int
	Error  string
	Says   string
	// Asked is what may be called: "none", "secret" (not the server) or "any"; or what must be
	// called: "server". Empty: "server" if Status is 200, otherwise "none".
	Asked string
	// Same is a mark. All inputs of rows with the same mark cause one exchange.
	Same string
}

// group is the content of a file of testdata/bad.
type group struct {
	// Type is the Content-Type of rows with a body and without Type.
	Type string
	Rows []row
}

// text is a string, an object that generates one, or a list of both, which are joined. The
// objects are {"repeat": s, "count": n}, {"each": s, "count": n, "join": s} with # in s replaced
// by 0, 1, …, and {"hex": s}.
type text string

func (x *text) UnmarshalJSON(raw []byte) error {
	var list []text
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, part := range list {
			*x += part
		}
		return nil
	}
	if raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(x))
	}
	return x.generate(raw)
}

func (x *text) generate(raw []byte) error {
	var g struct {
		Repeat, Each, Join, Hex string
		Count                   int
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return err
	}
	var parts []string
	for i := 0; g.Each != "" && i < g.Count; i++ {
		parts = append(parts, strings.ReplaceAll(g.Each, "#", fmt.Sprint(i)))
	}
	bytesOfHex, err := hex.DecodeString(g.Hex)
	*x = text(strings.Repeat(g.Repeat, g.Count) + strings.Join(parts, g.Join) + string(bytesOfHex))
	return err
}

// sample is one event of a row.
type sample struct {
	row
	name          string
	shape         string
	direct        bool
	flagged       bool
	method        text
	client, arn   text
	media, body   text
	directPayload text
}

// corpus reads testdata/bad and returns every event of it.
func corpus(t *testing.T) []sample {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("testdata/bad has %d files, %v", len(files), err)
	}
	var samples []sample
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		var g group
		if err := decoder.Decode(&g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, r := range g.Rows {
			if r.File != "" || r.Name == "" {
				t.Fatalf("%s: got a row with file %q and name %q, want a name only", file, r.File, r.Name)
			}
			r.File = strings.TrimSuffix(filepath.Base(file), ".json")
			samples = append(samples, r.samples(g.Type)...)
		}
	}
	return samples
}

// title is the name of the row among all rows.
func (r row) title() string { return r.File + "/" + strings.ReplaceAll(r.Name, " ", "_") }

// samples returns every combination of the row's inputs.
func (r row) samples(media string) []sample {
	var all []sample
	add := func(s sample) {
		s.row, s.name = r, fmt.Sprintf("%s/%s/%d", r.title(), s.shape, len(all))
		all = append(all, s)
	}
	for _, payload := range r.Payload {
		add(sample{shape: "direct", direct: true, directPayload: payload})
	}
	if r.Payload != nil {
		return all
	}
	r.product(media, add)
	return all
}

func (r row) product(media string, add func(sample)) {
	shapes := r.Shape
	if shapes == nil {
		shapes = []string{"v1", "v2"}
	}
	for _, shape := range shapes {
		for _, method := range or(r.Method, "POST") {
			for _, client := range or(r.Client, "billing") {
				for _, arn := range or(r.ARN, "arn:aws:sts::111122223333:assumed-role/billing-job/batch-7") {
					for _, kind := range or(r.Type, text(media)) {
						for _, body := range or(r.Body, "") {
							s := sample{shape: shape, method: method, client: client, arn: arn, media: kind, body: body}
							r.encodings(s, add)
						}
					}
				}
			}
		}
	}
}

// encodings adds the body in both encodings, which must be answered alike.
func (r row) encodings(s sample, add func(sample)) {
	s.flagged = r.Base64 == "flagged"
	add(s)
	if r.Base64 == "" && s.body != "" && len(s.body) < 1<<20 {
		s.flagged, s.body = true, text(base64.StdEncoding.EncodeToString([]byte(s.body)))
		add(s)
	}
}

func or(list []text, fallback text) []text {
	if list == nil {
		return []text{fallback}
	}
	return list
}

// invocation returns the invocation with the event.
func (s sample) invocation(t testing.TB) invoked {
	t.Helper()
	in := invoked{alias: testAlias}
	if s.Alias != "" {
		in.alias = strings.TrimPrefix(s.Alias, "-")
	}
	if s.direct {
		in.payload = []byte(s.directPayload)
		return in
	}
	e := s.event()
	for path, value := range s.Set {
		set(e, path, value)
	}
	for _, path := range s.Delete {
		set(e, path, nil)
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	// The body is put in afterwards, because encoding/json replaces bytes that are not UTF-8.
	in.payload = bytes.Replace(encoded, []byte(`"@body@"`), quote(string(s.body)), 1)
	return in
}

func (s sample) event() map[string]any {
	raw, path := string(s.client), s.Path
	if s.Raw != "" {
		raw = s.Raw
	}
	if path == "" {
		path = "/token/" + raw
	}
	e := map[string]any{
		"pathParameters": map[string]any{"client": string(s.client)},
		"stageVariables": map[string]any{"envelopeProof": testProof},
		"headers":        s.headers(), "isBase64Encoded": s.flagged, "body": "@body@",
	}
	if s.body == "" {
		e["body"] = nil
	}
	if s.shape == "v2" {
		s.fillV2(e, path)
	} else {
		s.fillV1(e, path)
	}
	return e
}

func (s sample) fillV1(e map[string]any, path string) {
	e["resource"], e["path"], e["httpMethod"] = "/token/{client}", path, string(s.method)
	multi := map[string]any{}
	for name, value := range e["headers"].(map[string]any) {
		multi[name] = []any{value}
	}
	for name, values := range s.Multi {
		multi[name] = values
	}
	e["multiValueHeaders"] = multi
	e["queryStringParameters"], e["multiValueQueryStringParameters"] = nil, nil
	if name, value, _ := strings.Cut(s.Query, "="); name != "" {
		e["queryStringParameters"] = map[string]any{name: value}
		e["multiValueQueryStringParameters"] = map[string]any{name: []string{value}}
	}
	e["requestContext"] = map[string]any{
		"path": "/v1" + path, "stage": "v1", "httpMethod": string(s.method), "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
		"identity": map[string]any{
			"userArn": string(s.arn), "accessKey": "cnry-key", "caller": "AROAEXAMPLEID:batch-7", "user": "cnry-user",
			"sourceIp": "203.0.113.7", "userAgent": "cnry-agent",
		},
	}
}

func (s sample) fillV2(e map[string]any, path string) {
	e["version"], e["routeKey"], e["rawPath"], e["rawQueryString"] = "2.0", "POST /token/{client}", path, s.Query
	if name, value, _ := strings.Cut(s.Query, "="); name != "" {
		e["queryStringParameters"] = map[string]any{name: value}
	}
	e["cookies"] = []string{"cnry-cookie=1"}
	e["requestContext"] = map[string]any{
		"http":  map[string]any{"method": string(s.method), "path": path, "sourceIp": "203.0.113.7", "userAgent": "cnry-agent"},
		"stage": "$default", "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
		"authorizer": map[string]any{"iam": map[string]any{"userArn": string(s.arn), "accessKey": "cnry-key", "callerId": "AROAEXAMPLEID:batch-7"}},
	}
}

// headers returns the headers of an event, which hold canaries.
func (s sample) headers() map[string]any {
	headers := map[string]any{
		"Authorization": "AWS4-HMAC-SHA256 Credential=cnry-key/20260101", "X-Amz-Security-Token": "cnry-session-token",
		"User-Agent": "cnry-agent", "Cookie": "cnry-cookie=1",
	}
	switch {
	case s.media == "json":
		headers["Content-Type"] = mediaJSON
	case s.media == "form":
		headers["Content-Type"] = mediaForm
	case s.media != "none" && s.media != "":
		headers["Content-Type"] = strings.TrimPrefix(string(s.media), "=")
	}
	for name, value := range s.Headers {
		headers[name] = string(value)
	}
	for i := range s.HeaderCount {
		headers[fmt.Sprintf("X-Header-%d", i)] = "cnry-header"
	}
	if s.shape != "v2" {
		return headers
	}
	lower := make(map[string]any, len(headers))
	for name, value := range headers {
		lower[strings.ToLower(name)] = value
	}
	return lower
}

// set replaces the value at a dotted path, or removes it if value is nil. It ignores a path that
// the event does not have.
func set(e map[string]any, path string, value json.RawMessage) {
	first, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		if delete(e, first); value != nil {
			e[first] = value
		}
		return
	}
	if inner, ok := e[first].(map[string]any); ok {
		set(inner, rest, value)
	}
}

// quote returns s as a JSON string, and does not replace bytes that are not UTF-8.
func quote(s string) []byte {
	out := []byte{'"'}
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ':
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
