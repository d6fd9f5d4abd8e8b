package endpoint

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

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
	case r.Client == "":
		return errors.New("the route " + r.Name + " names no client")
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
	secret := r.Header.Get(secretHeader)
	inPath := ""
	if own, after, _ := strings.Cut(rest, "/"); strings.HasPrefix(own, "~") {
		secret, rest, inPath = own[1:], after, own
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
	case climbs(rest):
		answer(w, http.StatusBadRequest, failure{Error: "invalid_request", Description: "the path must not have .. in it"})
		return
	}
	own := r.Clone(r.Context())
	own.Header.Del(secretHeader)
	own.Header.Del("Authorization")
	if inPath != "" {
		own.Header.Del("Referer") // of a page below the route, with the secret in its path
	}
	own.URL.Path, own.URL.RawPath = "/"+rest, ""
	if plain, err := url.PathUnescape(rest); err == nil {
		own.URL.Path, own.URL.RawPath = "/"+plain, "/"+rest
	}
	if err := keepBody(own); err != nil {
		answer(w, http.StatusBadRequest, failure{Error: "invalid_request", Description: "the body cannot be read"})
		return
	}
	path := strings.TrimSuffix("/r/"+name+"/"+inPath, "/")
	proxy.ServeHTTP(w, own.WithContext(context.WithValue(r.Context(), ownPath{}, path)))
}

// climbs reports whether a path leads out of the prefix of a target.
func climbs(path string) bool {
	for segment := range strings.SplitSeq(strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/", `\`, "/").Replace(path), "/") {
		if plain, err := url.PathUnescape(segment); err != nil || plain == ".." || plain == "." {
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
		},
		Transport:     &observed{s.cfg.Tokens.Transport(client.Request{Client: route.Client}, nil), s, route},
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			route.rewriteLocation(resp)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var e *client.Error
			if errors.As(err, &e) {
				s.fail(w, err)
				return
			}
			answer(w, http.StatusBadGateway, failure{Error: "server_error", Description: "the target of the route cannot be reached"})
		},
		// Its messages hold URLs of programs.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// rewriteLocation lets a redirect within the target lead through the route again: its program
// has no token for the target itself.
func (r *Route) rewriteLocation(resp *http.Response) {
	location, err := resp.Location()
	own, _ := resp.Request.Context().Value(ownPath{}).(string)
	if err != nil || own == "" || location.Scheme != r.Target.Scheme || location.Host != r.Target.Host {
		return
	}
	if rest, ok := strings.CutPrefix(location.EscapedPath(), strings.TrimSuffix(r.Target.EscapedPath(), "/")+"/"); ok {
		target := own + "/" + rest
		if location.RawQuery != "" {
			target += "?" + location.RawQuery
		}
		resp.Header.Set("Location", target)
	}
}

// ownPath is the context key of the path that leads to a route, with the local secret if the
// program has it there.
type ownPath struct{}

// observed counts and logs what a route sends.
type observed struct {
	http.RoundTripper

	server *Server
	route  Route
}

// RoundTrip implements [http.RoundTripper].
func (o *observed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(req)
	o.server.counts.add("route", outcome(err))
	if err == nil {
		if t, failure := o.server.cfg.Tokens.Token(req.Context(), client.Request{Client: o.route.Client}); failure == nil {
			o.server.given(o.route.Client, o.route.Name, t)
		}
	}
	return resp, err
}
