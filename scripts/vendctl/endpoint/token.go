package endpoint

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/client"
)

// maxForm is the longest form, in bytes.
const maxForm = 64 << 10

// serveToken serves the token endpoint. client_id names the vendor's client, client_secret is
// the local secret.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pragma", "no-cache")
	form, problem := readForm(w, r)
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, failure{Error: "invalid_request", Description: "the method must be POST"})
		return
	case problem != "":
		answer(w, http.StatusBadRequest, failure{Error: "invalid_request", Description: problem})
		return
	}
	id, secret, basic := clientCredentials(r, form)
	if !s.known(secret) {
		s.counts.add("unauthorized", "")
		if basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="vendctl"`)
		}
		answer(w, http.StatusUnauthorized, failure{Error: "invalid_client", Description: "client_secret is not the local secret, which vendctl serve writes to a file at its start"})
		return
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		answer(w, http.StatusBadRequest, failure{Error: "unsupported_grant_type", Description: "grant_type must be client_credentials"})
		return
	}
	request, problem := readRequest(id, form)
	if problem != "" {
		answer(w, http.StatusBadRequest, failure{Error: "invalid_request", Description: problem})
		return
	}
	t, err := s.cfg.Tokens.Token(r.Context(), request)
	s.counts.add("token", outcome(err))
	if err != nil {
		s.fail(w, err)
		return
	}
	s.log(request.Client, "", t.Fingerprint(), t.Expiry())
	write(w, http.StatusOK, t.JSON(s.cfg.Now()))
	if s.cfg.Given != nil {
		s.cfg.Given()
	}
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "given"
}

// readForm reads the body. Several values of one parameter are allowed for resource only.
func readForm(w http.ResponseWriter, r *http.Request) (form url.Values, problem string) {
	if r.Method != http.MethodPost {
		return nil, ""
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, "Content-Type must be application/x-www-form-urlencoded"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, "the form cannot be read, or is longer than 64 KiB"
	}
	if form, err = url.ParseQuery(string(body)); err != nil {
		return nil, "the body is not a form"
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return nil, "a parameter is given twice"
		}
	}
	return form, ""
}

// clientCredentials returns client_id and client_secret of HTTP Basic, form-encoded as RFC 6749
// section 2.3.1 requires or not, or of the body.
func clientCredentials(r *http.Request, form url.Values) (id, secret string, basic bool) {
	id, secret, basic = r.BasicAuth()
	if !basic {
		return form.Get("client_id"), form.Get("client_secret"), false
	}
	if decoded, err := url.QueryUnescape(id); err == nil {
		id = decoded
	}
	return id, secret, true
}

// readRequest returns what the form asks for. An empty parameter counts as left out (RFC 6749
// section 3.1). Libraries add response_type (@sap/xssec), which means nothing here.
func readRequest(id string, form url.Values) (r client.Request, problem string) {
	switch {
	case id == "":
		return r, "client_id is missing: it is the name of the vendor's client"
	case !client.ValidName(id):
		return r, "client_id is not the name of a client of the vendor, which has the characters a-z, 0-9 and -"
	}
	r.Client = id
	for name, values := range form {
		if name == "resource" {
			r.Resource = slices.DeleteFunc(values, func(value string) bool { return value == "" })
			continue
		}
		value := values[0]
		if value == "" {
			continue
		}
		if problem = setParameter(&r, name, value); problem != "" {
			return r, problem
		}
	}
	return r, ""
}

func setParameter(r *client.Request, name, value string) (problem string) {
	switch name {
	case "client_id", "client_secret", "grant_type", "response_type":
	case "client", "claim", "rejected", "dry_run":
		return name + " is for the vendor's own API"
	case "scope":
		r.Scope = strings.Fields(value)
	case "audience":
		r.Audience = value
	case "token_format":
		r.TokenFormat = value
	case "app_tid":
		r.AppTID = value
	case "min_ttl":
		seconds, err := strconv.ParseUint(value, 10, 17)
		if err != nil {
			return "min_ttl must be a whole number of seconds"
		}
		r.MinTTL = time.Duration(seconds) * time.Second //nolint:gosec // 17 bits
	default:
		if r.Parameters == nil {
			r.Parameters = make(map[string]string)
		}
		r.Parameters[name] = value
	}
	return ""
}

// log logs a token that a program gets, or that a route sends. end is zero if it is not known.
func (s *Server) log(name, route, fingerprint string, end time.Time) {
	line := struct {
		Time      time.Time `json:"time"`
		Type      string    `json:"type"`
		Client    string    `json:"client"`
		Route     string    `json:"route,omitempty"`
		Token     string    `json:"token_sha256"`
		ExpiresAt int64     `json:"expires_at,omitempty"`
	}{s.cfg.Now().UTC(), "token", name, route, fingerprint, 0}
	if !end.IsZero() {
		line.ExpiresAt = end.Unix()
	}
	text, err := json.Marshal(line)
	if err == nil {
		s.logMu.Lock()
		_, _ = s.cfg.Log.Write(append(text, '\n'))
		s.logMu.Unlock()
	}
}
