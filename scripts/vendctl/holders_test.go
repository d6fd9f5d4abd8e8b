//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/client"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	holders = 20
	vends   = 1000
	// briefLife is that of the tokens of the client brief which end in the test.
	briefLife = 3 * time.Second
	// endsApart is how far two ends of one token may be apart: whole seconds, and the time that a
	// request takes.
	endsApart = 2 * time.Second
)

// issued is the authorization server's record of one token.
type issued struct {
	client string
	end    time.Time // the claim exp
}

// issuedTokens is the record of all, by the SHA-256 of the tokens.
type issuedTokens struct {
	mu  sync.Mutex
	all map[string]issued
}

// record adds the token of an answer, and does not change it.
func (r *issuedTokens) record(body []byte) []byte {
	var answer struct {
		Token string `json:"access_token"`
	}
	var claims struct {
		Subject string `json:"sub"`
		Expiry  int64  `json:"exp"`
	}
	if json.Unmarshal(body, &answer) == nil && strings.Count(answer.Token, ".") == 2 {
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.Token, ".")[1])
		if err == nil && json.Unmarshal(text, &claims) == nil {
			sum := sha256.Sum256([]byte(answer.Token))
			r.mu.Lock()
			defer r.mu.Unlock()
			r.all[hex.EncodeToString(sum[:])] = issued{claims.Subject, time.Unix(claims.Expiry, 0)}
		}
	}
	return bytes.Clone(body)
}

func (r *issuedTokens) get(fingerprint string) issued {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[fingerprint]
}

// received is a caller's record of one token.
type received struct {
	client string
	times  int
	end    time.Time // by expires_in
}

// caller is a principal of the local stack with its own record.
type caller struct {
	*client.Client
	name    string // in the audit lines
	last    map[string]*client.Token
	tokens  map[string]*received // by their SHA-256
	refused map[string]int       // by client
}

// startHolders starts a local stack with a policy and as many principals as there are callers, and
// returns these.
func startHolders(t *testing.T) (*region, []*caller) {
	t.Helper()
	r := newRegion(t, "one")
	var principals []map[string]any
	for i := range holders {
		principals = append(principals, map[string]any{
			"arn": fmt.Sprintf("arn:aws:sts::123456789012:assumed-role/job-%d/session", i), "access_key_id": fmt.Sprintf("ASIA%016d", i),
			"secret_access_key": awsCanary, "session_token": "session", "allow": []string{"arn:aws:execute-api:eu-central-1:123456789012:local/local/POST/token/*"},
		})
	}
	policy := filepath.Join(t.TempDir(), "policy.json")
	for file, value := range map[string]any{
		r.statePath(): map[string]any{"principals": principals},
		policy: map[string]any{"freeze": []string{"frozen"}, "rules": []map[string]any{
			{"name": "jobs", "callers": []string{"aws:123456789012:role/job-*", "direct:*"}, "clients": []string{"*"}},
		}},
	} {
		text, err := json.Marshal(value)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.more = []string{"-policy", policy}
	r.start()
	t.Cleanup(r.kill)
	var callers []*caller
	for i, p := range r.Principals {
		c, err := client.New(client.Config{URLs: []string{r.TokenURL}, AWS: aws.Config{
			Region: r.Region, Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken),
		}})
		if err != nil {
			t.Fatal(err)
		}
		callers = append(callers, &caller{c, fmt.Sprintf("aws:123456789012:role/job-%d", i), make(map[string]*client.Token), make(map[string]*received), make(map[string]int)})
	}
	return r, callers
}

// vend asks the vendor for a token, and notes it. If reject is set, it reports the last one.
func (c *caller) vend(ctx context.Context, name, scope string, reject bool) error {
	r := client.Request{Client: name, Ask: ask.Ask{Scope: strings.Fields(scope)}}
	old := c.last[name+" "+scope]
	c.Forget()
	var token *client.Token
	var err error
	if reject && old != nil {
		token, err = c.Replace(ctx, r, old)
	} else {
		token, err = c.Token(ctx, r)
	}
	var failure *client.Error
	switch {
	case errors.As(err, &failure) && failure.Code == "access_denied":
		c.refused[name]++
		return nil
	case err != nil:
		return err
	}
	c.last[name+" "+scope] = token
	one := c.tokens[token.Fingerprint()]
	if one == nil {
		one = &received{client: name, end: token.Expiry()}
		c.tokens[token.Fingerprint()] = one
	}
	one.times++
	return nil
}

// After 1 000 vends of 20 callers, with rotations, freezes and rejected tokens, who-holds prints
// what the callers have received and the authorization server has issued.
func TestWhoHoldsIsWhatCallersReceived(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a local stack")
	}
	tokens := &issuedTokens{all: make(map[string]issued)}
	tenant := oauthtest.NewServer(t, oauthtest.Config{})
	tenant.Misbehave(oauthtest.Rewrite(tokens.record))
	r, callers := startHolders(t)
	clients := []string{"shop", "stock", "brief", "payroll", "frozen"}
	for _, name := range clients {
		tenant.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-0"}})
		r.add(tenant, name, "cnry-0")
	}
	if err := tenant.Update("brief", func(c *oauthtest.Client) { c.Lifetime = briefLife }); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // a test
	const rounds = 10
	for round := range rounds {
		if round > 0 && round%3 == 0 {
			r.rotate(tenant, []string{"shop", "stock"}[round%2], fmt.Sprintf("cnry-%d", round))
		}
		switch round {
		case 5: // callers keep what they have, and get more until the vendor has read the policy
			if _, errs, code := vendctl(t, "--local", r.file, "freeze", "payroll"); code != 0 {
				t.Fatal(errs)
			}
		case 7: // the vendor's own tokens are nobody's
			if _, errs, code := vendctl(t, "--local", r.file, "client", "reread", "stock"); code != 0 {
				t.Fatal(errs)
			}
		case 8:
			time.Sleep(briefLife)
			if err := tenant.Update("brief", func(c *oauthtest.Client) { c.Lifetime = time.Hour }); err != nil {
				t.Fatal(err)
			}
		}
		for range vends / rounds {
			c := callers[random.IntN(len(callers))]
			name, scope := clients[random.IntN(len(clients))], []string{"", "read", "write"}[random.IntN(3)]
			if err := c.vend(t.Context(), name, scope, random.IntN(5) == 0); err != nil {
				t.Fatalf("round %d, %s %q: %v", round, name, scope, err)
			}
		}
	}
	ended := 0
	for _, name := range clients {
		ended += checkHolders(t, r, name, callers, tokens)
	}
	if issued := tenant.Exchanges(); ended < holders || issued < 2*len(clients) {
		t.Errorf("%d tokens were issued, and %d of the callers' have ended: too few", issued, ended)
	}
}

// rotate stores a new version of a client's secret, after which the old credential is refused.
func (r *region) rotate(tenant *oauthtest.Server, name, secret string) {
	r.t.Helper()
	if err := tenant.SetSecrets(name, secret); err != nil {
		r.t.Fatal(err)
	}
	r.put(name, r.document(tenant, name, secret))
}

// checkHolders compares who-holds with the records of the callers and of the server. It returns how
// many of the callers' tokens have ended.
func checkHolders(t *testing.T, r *region, name string, callers []*caller, tokens *issuedTokens) (ended int) {
	t.Helper()
	out, errs, code := vendctl(t, "--local", r.file, "-o", "json", "who-holds", name)
	now := time.Now()
	var printed []holding
	if err := json.Unmarshal([]byte(out), &printed); err != nil || code != 0 {
		t.Fatalf("%s: got %d, %q, %v", name, code, errs, err)
	}
	got := make(map[[2]string]holding)
	for _, h := range printed {
		got[[2]string{h.Caller, h.Token}] = h
	}
	if len(got) != len(printed) {
		t.Errorf("%s: %d rows are there twice", name, len(printed)-len(got))
	}
	live := 0
	for _, c := range callers {
		for fingerprint, mine := range c.tokens {
			if mine.client != name {
				continue
			}
			key := [2]string{c.name, fingerprint}
			if mine.end.Before(now) {
				ended++
				continue
			}
			live++
			h, ok := got[key]
			server := tokens.get(fingerprint)
			switch {
			case !ok || h.Client != name || server.client != name || h.Times != mine.times:
				t.Errorf("%s: got %+v for %s, which has had a token of %s %d times", name, h, c.name, server.client, mine.times)
			case h.Until.Sub(server.end).Abs() > endsApart || h.Until.Sub(mine.end).Abs() > endsApart:
				t.Errorf("%s: got the end %v, want that of the server, %v, and of the caller, %v", name, h.Until, server.end, mine.end)
			}
			delete(got, key)
		}
		if name == "frozen" && c.refused[name] == 0 || name == "shop" && c.refused[name] > 0 {
			t.Errorf("%s: %s was refused %d times", name, c.name, c.refused[name])
		}
	}
	for _, h := range got {
		t.Errorf("%s: got %+v, which no caller has received", name, h)
	}
	if (live == 0) != (name == "frozen") {
		t.Errorf("%s: %d tokens of callers are valid", name, live)
	}
	return ended
}
