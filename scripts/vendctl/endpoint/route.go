package endpoint

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/client"
)

// maxReplay is the longest body that is kept in memory, so that it can be sent again after a
// 401, in bytes.
const maxReplay = 1 << 20

// Route is a reverse proxy that adds a client's token: /r/NAME/path leads to Target's path and
// path.
type Route struct {
	Name, Client string
	Target       *url.URL
}

// ParseRoute reads NAME=CLIENT@URL.
func ParseRoute(text string) (Route, error) {
	name, rest, ok := strings.Cut(text, "=")
	name2, target, ok2 := strings.Cut(rest, "@")
	u, err := url.Parse(target)
	if !ok || !ok2 || err != nil {
		return Route{}, errors.New("a route must be NAME=CLIENT@https://host/prefix")
	}
	r := Route{Name: name, Client: name2, Target: u}
	return r, r.check()
}

func (r *Route) check() error {
	letters := "abcdefghijklmnopqrstuvwxyz0123456789-_"
	switch {
	case r.Name == "" || strings.Trim(strings.ToLower(r.Name), letters) != "":
		return errors.New("the name of a route must have the characters a-z, 0-9, - and _")
	case !client.ValidName(r.Client):
		return errors.New("the route " + r.Name + " names no client: the name of a client has the characters a-z, 0-9 and -")
	case r.Target.Host == "" || r.Target.User != nil || r.Target.RawQuery != "" || r.Target.Fragment != "":
		return errors.New("the route " + r.Name + " has no URL such as https://host/prefix")
	case r.Target.Scheme != "https" && (r.Target.Scheme != "http" || !IsLoopback(r.Target.Hostname())):
		return errors.New("the URL of the route " + r.Name + " must be https: the token would be readable on the way")
	}
	return nil
}

// serveRoute checks the local secret, which the target must not see, and removes it.
func (s *Server) serveRoute(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/r/"), "/")
	secret, own := r.Header.Get(secretHeader), "/r/"+name
	segment, after, _ := strings.Cut(rest, "/")
	plain, err := url.PathUnescape(segment)
	inPath := err == nil && strings.HasPrefix(plain, "~") && (secret == "" || s.known(plain[1:]))
	if inPath {
		secret, rest, own = plain[1:], after, own+"/"+segment
	}
	proxy := s.routes[name]
	switch {
	case !s.known(secret):
		s.counts.add("unauthorized", "")
		answer(w, http.StatusUnauthorized, failure{Error: "invalid_client", Description: "the local secret is missing or wrong: send it as " + secretHeader + " or as /r/NAME/~SECRET/"})
		return
	case proxy == nil:
		answer(w, http.StatusNotFound, failure{Error: "invalid_request", Description: "there is no such route"})
		return
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		// A server that supports TRACE shows the token to the program.
		answer(w, http.StatusMethodNotAllowed, failure{Error: "invalid_request", Description: "a route passes no " + r.Method})
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // what a program streams has no limit
	out, problem := s.outgoing(r, rest)
	if problem != "" {
		answer(w, http.StatusBadRequest, failure{Error: "invalid_request", Description: problem})
		return
	}
	w.Header().Del("Cache-Control") // the target says
	p := &passage{path: own, secret: inPath}
	defer func() { // the proxy panics if the program leaves
		if p.sent && s.cfg.Given != nil {
			s.cfg.Given()
		}
	}()
	proxy.ServeHTTP(w, out.WithContext(context.WithValue(r.Context(), passageKey{}, p)))
}

// outgoing returns the request that goes to the target, with the path below its prefix.
func (s *Server) outgoing(r *http.Request, path string) (out *http.Request, problem string) {
	if climbs(path, 2) {
		return nil, "the path must not have .. in it"
	}
	out = r.Clone(r.Context())
	out.Header.Del(secretHeader)
	out.Header.Del("Authorization")
	if s.holdsSecret(out.Header.Get("Referer")) {
		out.Header.Del("Referer") // of a page below the route
	}
	out.URL.Path, out.URL.RawPath = "/"+path, ""
	if plain, err := url.PathUnescape(path); err == nil {
		out.URL.Path, out.URL.RawPath = "/"+plain, "/"+path
	}
	if s.shows(out) {
		return nil, "the local secret is in the request once more, where the target would see it"
	}
	if keepBody(out) != nil {
		return nil, "the body cannot be read"
	}
	return out, ""
}

// passage is one request through a route.
type passage struct {
	path   string // leads to the route
	secret bool   // path holds the local secret
	sent   bool   // the target got the token
}

// passageKey is the context key of a passage.
type passageKey struct{}

// passageOf returns the passage of a request to a target.
func passageOf(r *http.Request) *passage {
	p, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		panic("internal error: a request to a target without a passage")
	}
	return p
}

// shows reports whether a request that goes to a target holds the local secret.
func (s *Server) shows(r *http.Request) bool {
	if s.holdsSecret(r.URL.Path) || s.holdsSecret(r.URL.RawQuery) {
		return true
	}
	for _, values := range r.Header {
		if slices.ContainsFunc(values, s.holdsSecret) {
			return true
		}
	}
	return false
}

func (s *Server) holdsSecret(text string) bool {
	plain, err := url.QueryUnescape(text)
	return strings.Contains(text, s.cfg.Secret) || err == nil && strings.Contains(plain, s.cfg.Secret)
}

// climbs reports whether a path leads out of the prefix of a target. Some servers ignore what
// follows a semicolon in a segment (Tomcat, Jetty), or unescape again: so often that is tried.
func climbs(path string, again int) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		if dots, _, _ := strings.Cut(segment, ";"); dots == ".." || dots == "." {
			return true
		}
		plain, err := url.PathUnescape(segment)
		if err == nil && plain != segment && again > 0 && climbs(plain, again-1) {
			return true
		}
	}
	return false
}

// keepBody lets a short body be sent again.
func keepBody(r *http.Request) error {
	if r.ContentLength <= 0 || r.ContentLength > maxReplay {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, err = r.GetBody()
	return err
}

// newProxy returns the reverse proxy of a route. It streams, and passes WebSockets on.
func (s *Server) newProxy(route Route) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(route.Target)
			p.Out.Host = ""
			// As it was sent: OData has semicolons in it.
			p.Out.URL.RawQuery = p.In.URL.RawQuery
		},
		Transport:     s.cfg.Tokens.Transport(client.Request{Client: route.Client}, &observed{s, &route}),
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			s.counts.add("route", outcome(nil))
			own := passageOf(resp.Request)
			route.rewriteCookies(resp, own)
			return route.rewriteLocation(resp, own)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.counts.add("route", outcome(err))
			var e *client.Error
			switch {
			case errors.As(err, &e):
				s.fail(w, err)
			case errors.Is(err, errLeadsAway):
				answer(w, http.StatusBadGateway, failure{Error: "server_error", Description: err.Error()})
			default:
				answer(w, http.StatusBadGateway, failure{Error: "server_error", Description: "the target of the route cannot be reached"})
			}
		},
		// Its messages hold URLs of programs.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// below returns the path of a route that leads to a path of its target.
func (r *Route) below(own *passage, path string) (string, bool) {
	prefix := strings.TrimSuffix(r.Target.EscapedPath(), "/")
	if path == prefix {
		return own.path + "/", true
	}
	rest, ok := strings.CutPrefix(path, prefix+"/")
	return own.path + "/" + rest, ok
}

// isTarget reports whether a URL is of the target's server.
func (r *Route) isTarget(u *url.URL) bool {
	ports := map[string]string{"http": "80", "https": "443"}
	return u.Scheme == r.Target.Scheme && strings.EqualFold(u.Hostname(), r.Target.Hostname()) &&
		cmp.Or(u.Port(), ports[u.Scheme]) == cmp.Or(r.Target.Port(), ports[u.Scheme])
}

var errLeadsAway = errors.New("the target redirects out of the route, and programs would send the local secret there as Referer: " +
	"send it as " + secretHeader + ", or give the route a shorter prefix")

// rewriteLocation lets a redirect within the target lead through the route again: its program
// has no token for the target itself. The Location of another answer, such as 201, only names
// something; programs do not go there by themselves.
func (r *Route) rewriteLocation(resp *http.Response, own *passage) error {
	location, err := resp.Location()
	if errors.Is(err, http.ErrNoLocation) {
		return nil
	}
	if err == nil && r.isTarget(location) {
		if target, ok := r.below(own, location.EscapedPath()); ok {
			if location.RawQuery != "" {
				target += "?" + location.RawQuery
			}
			if location.Fragment != "" {
				target += "#" + location.EscapedFragment()
			}
			resp.Header.Set("Location", target)
			return nil
		}
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if own.secret {
			return errLeadsAway
		}
	}
	return nil
}

// rewriteCookies keeps cookies within the route: all routes have one host, and a program would
// send them to the targets of the others. Names and values stay as they are: net/http would drop
// some that programs and servers use.
func (r *Route) rewriteCookies(resp *http.Response, own *passage) {
	cookies := resp.Header.Values("Set-Cookie")
	resp.Header.Del("Set-Cookie")
	for _, cookie := range cookies {
		parts := strings.Split(cookie, ";")
		path, kept := "", []string{parts[0]}
		for _, part := range parts[1:] {
			name, value, _ := strings.Cut(part, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "path":
				path = strings.TrimSpace(value)
			case "domain", "secure", "samesite", "partitioned":
				// The route has another host, and no TLS: programs would not send the cookie back.
			default:
				kept = append(kept, part)
			}
		}
		path, ok := r.below(own, path)
		if !ok {
			path = own.path + "/"
		}
		resp.Header.Add("Set-Cookie", strings.Join(slices.Insert(kept, 1, " Path="+path), ";"))
	}
}

// observed logs the tokens that a route sends.
type observed struct {
	server *Server
	route  *Route
}

// RoundTrip implements [http.RoundTripper].
func (o *observed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.server.targets.RoundTrip(req)
	if err == nil {
		passageOf(req).sent = true
		_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(token))
		o.server.log(o.route.Client, o.route.Name, hex.EncodeToString(sum[:]), time.Time{})
	}
	return resp, err
}
