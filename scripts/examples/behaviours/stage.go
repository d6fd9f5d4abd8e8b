package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// stage is what a library meets: two URLs of the vendor, an API, and another server.
type stage struct {
	first, second  *door
	api, elsewhere *target
}

func newStage(tokenURL string) (*stage, error) {
	first, err := newDoor(tokenURL)
	if err != nil {
		return nil, err
	}
	second, err := newDoor(tokenURL)
	if err != nil {
		return nil, err
	}
	elsewhere := newTarget("")
	elsewhere.mode = refuses
	return &stage{first, second, newTarget(elsewhere.server.URL), elsewhere}, nil
}

func (s *stage) close() {
	for _, server := range []*httptest.Server{s.first.server, s.second.server, s.api.server, s.elsewhere.server} {
		server.Close()
	}
}

// reset lets all of them work again.
func (s *stage) reset() {
	s.first.set("works")
	s.second.set("works")
	s.api.set(accepts)
}

// Modes of a door.
const (
	works    = "works"
	unable   = "unavailable"
	pause    = "unavailable for 20 s"
	closes   = "closes the connection"
	denies   = "denies"
	gateways = "refuses as API Gateway"
	blocks   = "is blocked by a proxy"
)

// door is one URL of the vendor. It passes requests on unchanged, so that their signatures stay
// right.
type door struct {
	server *httptest.Server
	url    string // TokenUrl

	mu     sync.Mutex
	mode   string         // guarded by mu, as what follows
	calls  int            // how many there were
	sent   map[string]any // body of the last call
	tokens []string       // all that were given, which nothing may show
	// refreshAfter and expiresIn are those of the last token, in seconds.
	refreshAfter, expiresIn float64
}

func newDoor(tokenURL string) (*door, error) {
	u, err := url.Parse(tokenURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the vendor's URL cannot be read")
	}
	d := &door{mode: works}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, r.In.Host
		},
		ModifyResponse: d.answered,
	}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.fails(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	d.url = d.server.URL + u.Path
	return d, nil
}

func (d *door) set(mode string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode = mode
}

// fails counts a call, and answers it unless the door works.
func (d *door) fails(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	d.sent = nil
	_ = json.Unmarshal(body, &d.sent)
	switch d.mode {
	case works:
		return false
	case closes:
		panic(http.ErrAbortHandler)
	case pause:
		w.Header().Set("Retry-After", "20")
		refuse(w, http.StatusServiceUnavailable, `{"error":"temporarily_unavailable","error_description":"later","request_id":"r"}`)
	case unable:
		refuse(w, http.StatusServiceUnavailable, `{"error":"temporarily_unavailable","error_description":"later","request_id":"r"}`)
	case denies:
		refuse(w, http.StatusForbidden, `{"error":"access_denied","error_description":"no","request_id":"r"}`)
	case blocks:
		refuse(w, http.StatusForbidden, `{"error":{"code":403,"message":"blocked"}}`)
	case gateways:
		refuse(w, http.StatusForbidden, `{"message":"The security token included in the request is expired"}`)
	}
	return true
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// answered notes the times of a token.
func (d *door) answered(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		AccessToken  string  `json:"access_token"`
		RefreshAfter float64 `json:"refresh_after"`
		ExpiresIn    float64 `json:"expires_in"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.AccessToken != "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refreshAfter, d.expiresIn = answer.RefreshAfter, answer.ExpiresIn
		d.tokens = append(d.tokens, answer.AccessToken)
	}
	return nil
}

// Modes of a target.
const (
	accepts     = "accepts"
	refusesSeen = "refuses the token it has seen"
	refuses     = "refuses"
	redirects   = "redirects elsewhere"
	views       = "redirects to a page that refuses"
)

// target is an API that wants a token.
type target struct {
	server    *httptest.Server
	elsewhere string // where it redirects to

	mu       sync.Mutex
	mode     string          // guarded by mu, as what follows
	seen     map[string]bool // fingerprints
	old      map[string]bool // those that are refused
	requests int
	posts    int
	bodies   []string
	// got is true if a request had a header Authorization.
	got bool
}

func newTarget(elsewhere string) *target {
	t := &target{mode: accepts, elsewhere: elsewhere, seen: make(map[string]bool)}
	t.server = httptest.NewServer(t)
	return t
}

func (t *target) set(mode string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mode, t.old = mode, make(map[string]bool)
	for fingerprint := range t.seen {
		t.old[fingerprint] = true
	}
}

// ServeHTTP answers a request, which must have a token.
func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	if r.Method == http.MethodPost {
		t.posts++
	}
	t.bodies = append(t.bodies, string(body))
	t.got = t.got || r.Header.Get("Authorization") != ""
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	fingerprint := fingerprintOf(token)
	t.seen[fingerprint] = true
	switch {
	case t.mode == views && r.URL.Path != "/view":
		http.Redirect(w, r, "/view", http.StatusSeeOther)
	case t.mode == redirects:
		http.Redirect(w, r, t.elsewhere, http.StatusFound)
	case !ok || t.mode == refuses || t.mode == views || t.mode == refusesSeen && t.old[fingerprint]:
		refuse(w, http.StatusUnauthorized, `{"error":"invalid_token"}`)
	default:
		_, _ = io.WriteString(w, "ok")
	}
}

func fingerprintOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
