package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// look judges an answer.
func (s *storm) look(answer []byte, failed bool, scope string, took time.Duration) (granted bool) {
	var a struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
		ExpiresIn   int64  `json:"expires_in"`
		ErrorType   string `json:"errorType"`
		Message     string `json:"errorMessage"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.Unmarshal(answer, &a); err != nil {
		s.note("an answer is not JSON")
		return false
	}
	s.slowest = max(s.slowest, took)
	if failed {
		for _, secret := range never() {
			if bytes.Contains(answer, []byte(secret)) {
				s.note("an error holds a secret or a token")
			}
		}
		// Lambda's own, that the time was over or the process dead, are no answers.
		if a.ErrorType != "temporarily_unavailable" && a.ErrorType != "server_error" {
			s.note("the error %s", a.ErrorType)
		}
		// No trouble of a server is a mistake of the function's.
		if a.Message == "internal error" {
			s.note("an internal error")
		}
		s.errors[a.ErrorType]++
		return false
	}
	for _, secret := range secrets() {
		if bytes.Contains(answer, []byte(secret)) {
			s.note("a secret beside a token")
		}
	}
	if problem := expired(a.AccessToken, a.ExpiresIn); problem != "" || a.ExpiresIn < 0 {
		s.note("%s, %d seconds left", problem, a.ExpiresIn)
	}
	if first, seen := s.tokens[a.AccessToken]; seen && first != scope || a.Scope != scope {
		s.note("a token of another scope")
	}
	s.tokens[a.AccessToken] = scope
	s.granted++
	return true
}

// expired says what is wrong with a token of oauthtest's, of whose life so many seconds
// are said to be left; empty: nothing.
func expired(token string, left int64) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "not a token of the authorization server"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	// The server's exp is in whole seconds, and so up to one early.
	now := time.Now().Unix()
	switch {
	case err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp < now:
		return "an expired token"
	case left > claims.Exp+3-now: // it was said a moment ago
		return "a token that ends before it is said to"
	}
	return ""
}

// report prints the counts, and fails if anything was as it must not be.
func (s *storm) report(out io.Writer, logons int) error {
	c := s.ground.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, n := range s.made {
		all += n
	}
	fmt.Fprintf(out, "  %-23s %d\n", "faults", all)
	for _, place := range slices.Sorted(maps.Keys(s.made)) {
		fmt.Fprintf(out, "    %-21s %d", place, s.made[place])
		if proxy := s.ground.proxies[place]; proxy != nil {
			// Who was refused is not seen.
			fmt.Fprintf(out, ", met %d times", proxy.Met())
			if proxy.Strayed() > 0 {
				s.note("a redirect was followed")
			}
		}
		fmt.Fprintln(out)
	}
	for _, row := range []struct {
		what  string
		value any
	}{
		{"tokens", s.granted}, {"temporarily_unavailable", s.errors["temporarily_unavailable"]}, {"server_error", s.errors["server_error"]},
		{"different tokens", len(s.tokens)}, {"token requests", c.asked}, {"table calls", c.table}, {"failed logons", c.failedLogons}, {"slowest answer", s.slowest.Round(time.Millisecond)},
	} {
		fmt.Fprintf(out, "  %-23s %v\n", row.what, row.value)
	}
	// Who does not learn of a refusal cannot heed it.
	hidden := s.ground.proxies["authorization server"].Hidden()
	fmt.Fprintf(out, "  %-23s %d\n", "  their answers lost", hidden)
	if c.failedLogons > logons+hidden {
		s.note("more failed logons than the fuse allows")
	}
	if s.ground.issuer.FailedLogons(keyed)+s.ground.issuer.FailedLogons(vouched) > 0 {
		s.note("a right credential failed")
	}
	if len(s.problems) > 0 {
		return errors.New(strings.Join(s.problems, "; "))
	}
	fmt.Fprintln(out, "  no wrong token, no expired one, no secret in any output, an answer to everybody")
	return nil
}
