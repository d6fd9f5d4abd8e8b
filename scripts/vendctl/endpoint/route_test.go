package endpoint_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

// target is an API behind a route. It is safe for concurrent use.
type target struct {
	*httptest.Server
	mu      sync.Mutex
	got     []string        // guarded by mu
	refused map[string]bool // tokens that get 401; guarded by mu
}

func newTarget(t *testing.T) *target {
	t.Helper()
	s := &target{refused: make(map[string]bool)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *target) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

func (s *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := ""
	if r.Header.Get("Upgrade") == "" {
		text, _ := io.ReadAll(r.Body)
		body = string(text)
	}
	var all strings.Builder
	_ = r.Header.Write(&all)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	s.got = append(s.got, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), token, body))
	if strings.Contains(all.String()+r.URL.String(), secretCanary) {
		s.got = append(s.got, "THE LOCAL SECRET")
	}
	refused := s.refused[token] || s.refused["*"]
	s.mu.Unlock()
	switch {
	case refused:
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasSuffix(r.URL.Path, "/moved"):
		w.Header().Set("Location", s.URL+"/prefix/there?x=1")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/part"):
		w.Header().Set("Location", "/prefix/next?a=b;c#/app/page%20one")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/created"):
		w.Header().Set("Location", "https://backend.internal/Orders(1)")
		w.WriteHeader(http.StatusCreated)
	case strings.HasSuffix(r.URL.Path, "/top"):
		w.Header().Set("Location", "/prefix")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/above"):
		w.Header().Set("Location", "/other/page")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/cookies"):
		for _, cookie := range []string{"a=1; Path=/; Secure; SameSite=None", "b=2; Path=/prefix/deep; HttpOnly", "c=3; Domain=127.0.0.1",
			`prefs={"a":1}; expires=Fri, 01 Jan 2100 00:00:00 GMT;path=/prefix`, "[id]=4;SECURE", "name=Zoë", "u=x y,z", "Path=5; Path=/; Path=/prefix/p/; Partitioned"} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.Header().Set("Cache-Control", "max-age=60")
	case strings.HasSuffix(r.URL.Path, "/away"):
		w.Header().Set("Location", "https://other.example/x")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.Header.Get("Upgrade") == "websocket":
		echo(w)
	default:
		_, _ = io.WriteString(w, "answer")
	}
}

// echo switches the protocol, and sends back what it gets.
func echo(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	line, err := buffered.ReadString('\n')
	if err == nil {
		_, _ = io.WriteString(conn, "echo "+line)
	}
}

func withSecret() map[string]string {
	return map[string]string{"Token-Vendor-Local-Secret": secretCanary, "Authorization": "Bearer of-the-program"}
}

func TestRouteAddsTheToken(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL+"/prefix")
	for _, test := range []struct{ path, want string }{
		{"/r/api/a/b?q=1", "GET /prefix/a/b?q=1 " + tokenCanary + "-1 "},
		{"/r/api/a%2Fb/c%20d", "GET /prefix/a%2Fb/c%20d " + tokenCanary + "-1 "},
		{"/r/api/", "GET /prefix/ " + tokenCanary + "-1 "},
		{"/r/api/~" + secretCanary + "/a", "GET /prefix/a " + tokenCanary + "-1 "},
		{"/r/api/~" + secretCanary, "GET /prefix/ " + tokenCanary + "-1 "},
		{"/r/api/%7E" + secretCanary + "/a", "GET /prefix/a " + tokenCanary + "-1 "},
		{"/r/api/Books?$expand=author($select=name;$top=1)&b=%zz&a=1", "GET /prefix/Books?$expand=author($select=name;$top=1)&b=%zz&a=1 " + tokenCanary + "-1 "},
	} {
		header := withSecret()
		if strings.Contains(test.path, secretCanary) {
			header = map[string]string{"Referer": k.URL + test.path}
		}
		r := k.get(test.path, header)
		got := api.requests()
		if r.status != http.StatusOK || r.body != "answer" || got[len(got)-1] != test.want {
			t.Errorf("%s: got %d, the target got %q, want %q", test.path, r.status, got, test.want)
		}
	}
	if r := k.do(http.MethodPost, "/r/api/x", withSecret(), strings.NewReader("body")); r.status != http.StatusOK {
		t.Errorf("got %d", r.status)
	}
	if got := api.requests(); got[len(got)-1] != "POST /prefix/x "+tokenCanary+"-1 body" || len(k.vendor.requests()) != 1 {
		t.Errorf("got %q and the vendor %q", got, k.vendor.requests())
	}
}

func TestRouteRefuses(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL+"/prefix")
	for name, test := range map[string]struct {
		path   string
		header map[string]string
		want   int
	}{
		"no secret":        {"/r/api/x", nil, 401},
		"wrong secret":     {"/r/api/x", map[string]string{"Token-Vendor-Local-Secret": "x"}, 401},
		"wrong path":       {"/r/api/~x/x", nil, 401},
		"no such route":    {"/r/other/x", withSecret(), 404},
		"climbs":           {"/r/api/../x", withSecret(), 400},
		"climbs encoded":   {"/r/api/a/%2e%2e/%2e%2e/x", withSecret(), 400},
		"climbs slash":     {"/r/api/a%2f..%2f..%2fx", withSecret(), 400},
		"climbs backslash": {"/r/api/..%5cx", withSecret(), 400},
		"dot":              {"/r/api/./x", withSecret(), 400},
		"climbs parameter": {"/r/api/..;a=b/..;/x", withSecret(), 400},
		"climbs twice":     {"/r/api/100%25/%252e%252e/x", withSecret(), 400},
		"secret twice":     {"/r/api/~" + secretCanary + "/~" + secretCanary + "/x", nil, 400},
		"secret in query":  {"/r/api/x?a=~" + secretCanary, withSecret(), 400},
		"secret in header": {"/r/api/x", map[string]string{"Token-Vendor-Local-Secret": secretCanary, "Destination": "/r/api/~" + secretCanary + "/y"}, 400},
		"redirect":         {"/r/api/~" + secretCanary + "/away", nil, 502},
		"redirect above":   {"/r/api/~" + secretCanary + "/above", nil, 502},
	} {
		if r := k.get(test.path, test.header); r.status != test.want {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, test.want)
		}
	}
	if r := k.do(http.MethodTrace, "/r/api/x", withSecret(), nil); r.status != http.StatusMethodNotAllowed {
		t.Errorf("TRACE: got %d", r.status)
	}
	if got := api.requests(); len(got) != 2 || !strings.Contains(got[0]+got[1], "/away") || !strings.Contains(got[0]+got[1], "/above") {
		t.Errorf("the target got %q, want the redirects only", got)
	}
}

// A 401 of the target brings a new token, and the request once more, if its body can be sent
// again.
func TestRouteReplacesRefusedToken(t *testing.T) {
	api := newTarget(t)
	api.refused[tokenCanary+"-1"] = true
	k := newKit(t, "api=billing@"+api.URL)
	if r := k.do(http.MethodPost, "/r/api/x", withSecret(), strings.NewReader("body")); r.status != http.StatusOK {
		t.Errorf("got %d", r.status)
	}
	if got := api.requests(); len(got) != 2 || got[1] != "POST /x "+tokenCanary+"-2 body" {
		t.Errorf("the target got %q", got)
	}
	if got := k.vendor.requests(); len(got) != 2 || !strings.Contains(got[1], `"rejected":"`) {
		t.Errorf("the vendor got %q", got)
	}
	api.refused["*"] = true
	stream := io.MultiReader(strings.NewReader("stream"))
	if r := k.do(http.MethodPost, "/r/api/x", withSecret(), stream); r.status != http.StatusUnauthorized {
		t.Errorf("a stream: got %d, want the 401 of the target", r.status)
	}
	if got := api.requests(); len(got) != 3 || got[2] != "POST /x "+tokenCanary+"-2 stream" {
		t.Errorf("a stream: the target got %q", got)
	}
}

func TestRouteWithoutTokenOrTarget(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL)
	k.vendor.set(http.StatusForbidden)
	if r := k.get("/r/api/x", withSecret()); r.status != http.StatusForbidden || len(api.requests()) != 0 {
		t.Errorf("no token: got %d %s", r.status, r.body)
	}
	k = newKit(t, "api=billing@"+api.URL)
	api.Close()
	if r := k.get("/r/api/x", withSecret()); r.status != http.StatusBadGateway || r.members(t)["error"] != "server_error" {
		t.Errorf("no target: got %d %s", r.status, r.body)
	}
}

func TestRouteFollowsRedirectsOfItsTarget(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL+"/prefix")
	for path, want := range map[string]string{
		"/r/api/moved": "/r/api/there?x=1", "/r/api/~" + secretCanary + "/moved": "/r/api/~" + secretCanary + "/there?x=1", "/r/api/away": "https://other.example/x",
		"/r/api/part": "/r/api/next?a=b;c#/app/page%20one",
		"/r/api/top":  "/r/api/", "/r/api/~" + secretCanary + "/created": "https://backend.internal/Orders(1)",
	} {
		if r := k.get(path, withSecret()); r.header.Get("Location") != want {
			t.Errorf("%s: got %q, want %q", path, r.header.Get("Location"), want)
		}
	}
}

// All routes have one host: a program must not send the cookies of one target to another.
func TestRouteKeepsCookiesToItself(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL+"/prefix")
	r := k.get("/r/api/cookies", withSecret())
	want := []string{"a=1; Path=/r/api/", "b=2; Path=/r/api/deep; HttpOnly", "c=3; Path=/r/api/",
		`prefs={"a":1}; Path=/r/api/; expires=Fri, 01 Jan 2100 00:00:00 GMT`, "[id]=4; Path=/r/api/", "name=Zoë; Path=/r/api/", "u=x y,z; Path=/r/api/", "Path=5; Path=/r/api/p/"}
	if got := r.header.Values("Set-Cookie"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.header.Values("Cache-Control"); !slices.Equal(got, []string{"max-age=60"}) {
		t.Errorf("got Cache-Control %q, want that of the target", got)
	}
}

// A token whose life is not known is not kept. Each request has one of its own, and the log names
// the one that was sent.
func TestRouteLogsTheTokenThatItSends(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL)
	k.vendor.lifeless = true
	k.get("/r/api/x", withSecret())
	sum := sha256.Sum256([]byte(tokenCanary + "-1"))
	k.mu.Lock()
	defer k.mu.Unlock()
	if got := k.vendor.requests(); len(got) != 1 || !strings.Contains(k.log.String(), hex.EncodeToString(sum[:])) {
		t.Errorf("got %d calls of the vendor and the log %s", len(got), k.log.String())
	}
}

// Given is called for a token that was given, also if the program leaves during the answer.
func TestGivenIsCalledForATokenOnly(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL)
	k.vendor.set(http.StatusForbidden)
	k.get("/r/api/x", withSecret())
	k.post("/token", nil, good())
	k.post("/token", nil, nil)
	if got := k.given.Load(); got != 0 {
		t.Errorf("requests that are refused: got %d calls", got)
	}
	k.vendor.set(0)
	k.vendor.pass(time.Hour) // the backoff
	k.get("/r/api/x", withSecret())
	if got := k.given.Load(); got != 1 {
		t.Errorf("a request: got %d calls, want 1", got)
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+"/r/api/~"+secretCanary+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = resp.Body.Close()
	for end := time.Now().Add(20 * time.Second); k.given.Load() != 2 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := k.given.Load(); got != 2 {
		t.Errorf("the program has left: got %d calls, want 2", got)
	}
}

func TestRouteStreams(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+"/r/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Token-Vendor-Local-Secret", secretCanary)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "data: one\n" {
		t.Errorf("got %q, %v before the stream's end", line, err)
	}
}

func TestRoutePassesWebSockets(t *testing.T) {
	api := newTarget(t)
	k := newKit(t, "api=billing@"+api.URL)
	conn, err := net.Dial("tcp", strings.TrimPrefix(k.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET /r/api/~%s/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", secretCanary)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := reader.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if got := api.requests(); len(got) != 1 || !strings.Contains(got[0], tokenCanary) {
		t.Errorf("the target got %q", got)
	}
}

func TestParseRoute(t *testing.T) {
	for text, ok := range map[string]bool{
		"api=billing@https://host/prefix": true, "api=billing@http://127.0.0.1:1/": true, "A_b-1=c@https://host": true,
		"api=billing@http://host/": false, "api=billing": false, "=billing@https://host": false, "a/b=c@https://host": false,
		"api=@https://host": false, "api=BAD_CLIENT@https://host": false, "api=c@https://u:p@host": false, "api=c@https://host?q": false, "api=c@host": false, "api=c@ftp://host": false, "api=c@": false,
	} {
		if _, err := endpoint.ParseRoute(text); (err == nil) != ok {
			t.Errorf("%s: got %v", text, err)
		}
	}
	route, err := endpoint.ParseRoute("api=c@https://host")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := endpoint.New(endpoint.Config{Tokens: &client.Client{}, Secret: secretCanary, Routes: []endpoint.Route{route, route}}); err == nil {
		t.Error("two routes of one name are accepted")
	}
	if _, err := endpoint.New(endpoint.Config{Tokens: &client.Client{}}); err == nil {
		t.Error("an empty local secret is accepted")
	}
}
