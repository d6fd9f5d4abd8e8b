package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/tokensource"
)

const (
	// SAP Cloud Identity Services takes so many requests of a tenant in a minute, logins of
	// people included.
	serverMinute = 1000
	firstSecret  = "good"
	secondSecret = "better" // #nosec G101 -- of a server that this program starts
	// refreshShare of its life a token is replaced after at the earliest: 0.8 with a jitter of
	// 0.05, and a second for the exchange.
	refreshShare = 0.74
)

// late takes the time of a call: base and an exponentially distributed jitter, and one time in a
// thousand five times as long.
func late(base, jitter time.Duration) {
	d := base + time.Duration(rand.ExpFloat64()*float64(jitter))
	if rand.IntN(1000) == 0 {
		d *= 5
	}
	time.Sleep(d)
}

// connect gives the table, KMS and Secrets Manager their latencies, and the table its limits.
func (r *run) connect() {
	r.fleet.Table.Limit()
	r.fleet.Table.Misbehave(func(context.Context) error {
		late(3*time.Millisecond, 2*time.Millisecond)
		return nil
	})
	r.fleet.Keys.Misbehave(func(context.Context) error {
		r.keys.count()
		late(6*time.Millisecond, 4*time.Millisecond)
		return nil
	})
	r.fleet.OnRead(func() {
		r.secrets.count()
		late(8*time.Millisecond, 4*time.Millisecond)
	})
}

// rate counts calls by the second. The zero value is ready.
type rate struct {
	mu        sync.Mutex
	second    int64 // guarded by mu, as what follows
	now, most int
}

func (r *rate) count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := time.Now().Unix(); second != r.second {
		r.second, r.now = second, 0
	}
	r.now++
	r.most = max(r.most, r.now)
}

func (r *rate) busiest() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// server is the authorization server. It answers with 429 above serverMinute, and records the
// exchanges.
type server struct {
	*oauthtest.Server
	life time.Duration

	mu      sync.Mutex
	at      []time.Time            // guarded by mu
	clients map[string][]time.Time // by client_id; guarded by mu
	rotated map[string]time.Time   // guarded by mu
	due     int                    // guarded by mu
}

func newServer(s *oauthtest.Server, life time.Duration) *server {
	counted := &server{Server: s, life: life, clients: make(map[string][]time.Time), rotated: make(map[string]time.Time)}
	s.Misbehave(counted.serve)
	return counted
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
	_ = r.ParseForm() // a body that is no form has no parameters
	allowed := s.note(r.Form.Get("client_id"))
	late(150*time.Millisecond, 100*time.Millisecond)
	if !allowed {
		oauthtest.HTML429("60")(w, r, next, done)
		return
	}
	next.ServeHTTP(w, r)
}

// note records a request and returns whether the server's limit allows it.
func (s *server) note(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.at = append(s.at, now)
	before := s.clients[client]
	s.clients[client] = append(before, now)
	if len(before) == 0 {
		s.due++
		return true
	}
	last := before[len(before)-1]
	if now.Sub(last) >= time.Duration(refreshShare*float64(s.life)) || last.Before(s.rotated[client]) {
		s.due++
	}
	return len(s.at) <= serverMinute || now.Sub(s.at[len(s.at)-1-serverMinute]) > time.Minute
}

func (s *server) exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func (s *server) lifetimes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due
}

func (s *server) busiestMinute() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := 0
	for i, at := range s.at {
		for at.Sub(s.at[first]) > time.Minute {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (s *server) failedLogons(clients int) (n int) {
	for i := range clients {
		n += s.FailedLogons(clientName(i))
	}
	return n
}

func clientName(i int) string { return fmt.Sprint("client-", i) }

// addClient registers a client and stores its document.
func (r *run) addClient(i int) {
	name := clientName(i)
	r.server.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret}, Lifetime: r.cfg.Life})
	r.fleet.Put(name, "v1", map[string]any{"client_id": name})
}

// rotate replaces the secret of the first client at the authorization server and in its
// document at once.
func (r *run) rotate() {
	name := clientName(0)
	if err := r.server.SetSecrets(name, secondSecret); err != nil {
		r.fleet.Fatal(err)
	}
	r.fleet.DateVersions()
	r.fleet.Put(name, "v2", map[string]any{"client_id": name, "client_secret": secondSecret})
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.server.rotated[name] = time.Now()
}

// peaks returns the peaks of the table's items by what they are for, as far as that can be seen
// without the table's key.
func (r *run) peaks(used fleettest.Usage) map[string]fleettest.Peak {
	peaks := make(map[string]fleettest.Peak)
	for _, item := range r.fleet.Table.Items() {
		what, peak := use(item), used.Peaks[item.Name]
		peaks[what] = fleettest.Peak{Reads: max(peaks[what].Reads, peak.Reads), Writes: max(peaks[what].Writes, peak.Writes)}
	}
	return peaks
}

func use(item fleet.Item) string {
	switch {
	case strings.HasPrefix(item.Name, "epoch "):
		return "key of a day"
	case len(item.State) == 0:
		return "value"
	case len(item.Value) > 0:
		return "lease with a value"
	case item.Until > 1:
		return "lease"
	default:
		return fmt.Sprintf("note of %d bytes", len(item.State))
	}
}

// countedNames are the metrics that say that something went wrong.
func countedNames() []string {
	return []string{
		fleet.CountRefused, fleet.CountFailed, fleet.CountLost, tokensource.CountAlone, tokensource.CountThrottled, tokensource.CountFailedLogon,
		tokensource.CountFuse, tokensource.CountCandidate, token.CountDocument,
	}
}
