package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// checker checks answers and output, and collects the problems that it finds. It is safe
// for concurrent use.
type checker struct {
	mu       sync.Mutex
	tokens   map[string]string // scope by token; guarded by mu, as what follows
	errors   map[string]int    // by code
	slowest  time.Duration
	granted  int
	stacks   []int // goroutine stacks that each process has printed
	problems []string
}

func newChecker(processes int) *checker {
	return &checker{tokens: make(map[string]string), errors: make(map[string]int), stacks: make([]int, processes)}
}

func (c *checker) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(format, args...)
}

// add is problem for callers that hold mu.
func (c *checker) add(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(c.problems) < 20 && !slices.Contains(c.problems, text) {
		c.problems = append(c.problems, text)
	}
}

// err returns all problems as one error; nil if there is none.
func (c *checker) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(c.problems, "; "))
}

// answer is an answer to a direct invoke of the token function.
type answer struct {
	AccessToken string `json:"access_token"`
	Scope       string `json:"scope"`
	ExpiresIn   int64  `json:"expires_in"`
	ErrorType   string `json:"errorType"`
	Message     string `json:"errorMessage"`
}

// checkAnswer checks the answer to a request for scope. It reports whether the answer has
// a token, and the error's code if it has none.
func (c *checker) checkAnswer(text []byte, failed bool, scope string, took time.Duration) (granted bool, code string) {
	var a answer
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := json.Unmarshal(text, &a); err != nil {
		c.add("an answer is not JSON")
		return false, ""
	}
	c.slowest = max(c.slowest, took)
	if failed {
		c.checkError(text, a)
		return false, a.ErrorType
	}
	if containsAny(text, secrets()) {
		c.add("a secret beside a token")
	}
	if problem := tokenProblem(a.AccessToken, a.ExpiresIn); problem != "" || a.ExpiresIn < 0 {
		c.add("%s, %d seconds left", problem, a.ExpiresIn)
	}
	if first, seen := c.tokens[a.AccessToken]; seen && first != scope || a.Scope != scope {
		c.add("a token of another scope")
	}
	c.tokens[a.AccessToken] = scope
	c.granted++
	return true, ""
}

// checkError checks a function error. mu must be held.
func (c *checker) checkError(text []byte, a answer) {
	if containsAny(text, forbidden()) {
		c.add("an error contains a secret or a token")
	}
	// Lambda's own errors (a timeout, a dead process) do not count as answers.
	if a.ErrorType != "temporarily_unavailable" && a.ErrorType != "server_error" {
		c.add("the error %s", a.ErrorType)
	}
	// Trouble of a server must not be reported as a bug of the function.
	if a.Message == "internal error" {
		c.add("an internal error")
	}
	c.errors[a.ErrorType]++
}

// tokenProblem says what is wrong with a token of oauthtest whose answer says that it
// lives for so many seconds; empty: nothing.
func tokenProblem(token string, expiresIn int64) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "not a token of the authorization server"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	// The server rounds exp down to seconds, so that it may be one second early.
	now := time.Now().Unix()
	switch {
	case err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp < now:
		return "an expired token"
	case expiresIn > claims.Exp+3-now: // the answer was made a moment ago
		return "a token that expires earlier than its answer says"
	}
	return ""
}

// secrets returns what no answer may contain: the secrets, as they are and in base64. The
// base64 has three forms, one for each offset of the secret in what was encoded.
func secrets() (all []string) {
	for _, secret := range []string{firstSecret, secondSecret} {
		all = append(all, secret)
		for before := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte("??"[:before] + secret))
			all = append(all, text[(8*before+5)/6:8*(before+len(secret))/6])
		}
	}
	return all
}

// forbidden returns what no error and no output may contain: secrets, the header or the
// claims of a token or an assertion, and a server's HTML page, also as encoding/json
// escapes it.
func forbidden() []string {
	return append(secrets(), "eyJhbGci", "eyJhdWQi", "eyJpc3Mi", "<html", `\u003chtml`)
}

func containsAny(text []byte, all []string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return bytes.Contains(text, []byte(s)) })
}
