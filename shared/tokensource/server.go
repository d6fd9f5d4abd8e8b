package tokensource

import (
	"encoding/json"
	"hash/fnv"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// probeTime is how long other callers wait for the result of a probe.
	probeTime = 6 * time.Second
	// firstSilence is the backoff after a 429 without Retry-After, doubling to longSilence.
	firstSilence = 2 * time.Second
	longSilence  = 30 * time.Second
	// hostSilence is how soon a second client's 429 silences the whole server.
	hostSilence = time.Minute
	// wantTime is how long a client counts as one that wants permits after it asked for one,
	// and wantNote how old that may be before it is written again.
	wantTime = 3 * time.Second
	wantNote = time.Second
	// maxServerClients bounds the row, so that a write takes one or two units of capacity.
	maxServerClients = 8
)

// server is what is known of an authorization server, here or in the table. Times are in
// Unix milliseconds.
type server struct {
	// Next is that of [RateLimiter].
	Next int64 `json:"next,omitempty"`
	silence
	// Rate is the lowest rate that a client asked for permits at, but the default at least, and
	// RateAt when that was. It limits the others for wantTime.
	Rate   rate  `json:"rate,omitempty"`
	RateAt int64 `json:"rateAt,omitempty"`
	// Clients are those that asked last, and those that are silenced.
	Clients []clientBudget `json:"clients,omitempty"`
}

// clientBudget is what is known of one client of a server.
type clientBudget struct {
	// ID is a hash of the client's name.
	ID uint64 `json:"id"`
	// Next is that of a [RateLimiter] with half of the server's budget.
	Next int64 `json:"next,omitempty"`
	// Wanted is when it last asked for a permit.
	Wanted int64 `json:"wanted,omitempty"`
	silence
}

// silence is a time in which no exchange is made, of a server or of one of its clients.
type silence struct {
	// Throttled is how often in a row the server asked not to be called, At when it last
	// did, and Silent until when. Probe is until when a caller finds out whether it still
	// does.
	Throttled int   `json:"throttled,omitempty"`
	At        int64 `json:"at,omitempty"`
	Silent    int64 `json:"silent,omitempty"`
	Probe     int64 `json:"probe,omitempty"`
}

// permit is the answer to a caller that wants to call a server.
type permit struct {
	silent    time.Duration // the server is not to be called for so long
	probing   bool          // another caller finds out whether that still holds
	contended bool          // other environments were faster each time
	ok        bool          // the caller has a permit,
	wait      time.Duration // which holds after this
	rate      rate          // at which it was taken
}

// bucket is a budget of exchanges with one server.
type bucket struct {
	limit limit
	// reserve takes a permit, see [RateLimiter.Reserve].
	reserve func(patience time.Duration) (wait time.Duration, ok bool)
}

// clientID returns the ID of a client. A collision lets two clients share a silence.
func clientID(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// reserve takes a permit for one exchange of a client. After a silence one caller gets it, as a
// probe. A client that has used half of the budget gets more only while no other client wants
// it, and then reserves less far ahead, so that another one that comes finds room.
func (s *server) reserve(now time.Time, a applicant, b bucket, patience time.Duration) (p permit) {
	if p = s.blocked(now, a.id); p.wait > 0 {
		return p
	}
	p.rate = s.limited(now, a.rate)
	s.limitOthers(now, a.rate)
	c := s.client(now, a.id)
	used, half := RateLimiter{full: time.UnixMilli(c.Next)}, b.limit.half()
	wait, ok := used.Reserve(now, half.burst, half.interval, patience)
	others := s.wanted(now, a.id)
	if others && !ok {
		c.want(now)
		return permit{wait: wait}
	}
	if !others && wait > 0 {
		wait, patience = 0, min(patience, maxWait/2)
	}
	if p.wait, p.ok = b.reserve(patience); !p.ok {
		c.want(now)
		return p
	}
	if !ok {
		used.spend(now, half.interval, half.whole()+maxWait)
	}
	p.wait = max(p.wait, wait)
	c.Next, c.Wanted = used.millis(), now.UnixMilli()
	s.probe(now)
	c.probe(now)
	return p
}

// limited returns the rate at which a client that has the rate r is served. A document raises
// the rate only as far as the documents of all clients that want the server do, because they
// rely on it, too. No document lowers it for others.
func (s *server) limited(now time.Time, r rate) rate {
	if now.Sub(time.UnixMilli(s.RateAt)).Abs() < wantTime {
		return min(r, max(s.Rate, registry.DefaultRate))
	}
	return r
}

// limitOthers notes that a client wants the server that has the rate r.
func (s *server) limitOthers(now time.Time, r rate) {
	r = max(r, registry.DefaultRate)
	since := now.Sub(time.UnixMilli(s.RateAt)).Abs()
	if r < s.Rate || since >= wantTime || r == s.Rate && since >= wantNote {
		s.Rate, s.RateAt = r, now.UnixMilli()
	}
}

// spent reports whether a client has used half of the budget while another one wants it.
func (s *server) spent(now time.Time, id uint64, half limit) bool {
	c := s.find(id)
	if c == nil || !s.wanted(now, id) {
		return false
	}
	used := RateLimiter{full: time.UnixMilli(c.Next)}
	_, ok := used.Reserve(now, half.burst, half.interval, 0)
	return !ok
}

// blocked returns why a client is not to call the server now; the zero value: it may.
func (s *server) blocked(now time.Time, id uint64) (p permit) {
	both := []*silence{&s.silence}
	if c := s.find(id); c != nil {
		both = append(both, &c.silence)
	}
	for _, x := range both {
		if p.silent = max(p.silent, x.remaining(now)); p.silent > 0 {
			p.wait = p.silent
		}
	}
	for _, x := range both {
		if wait := time.UnixMilli(x.Probe).Sub(now); p.silent == 0 && x.Throttled > 0 && wait > 0 && wait <= probeTime {
			p.probing, p.wait = true, max(p.wait, wait)
		}
	}
	return p
}

// report notes the result of a client's exchange. byHost means that the server counts all of
// its clients together.
func (s *server) report(now time.Time, id uint64, byHost bool, o outcome) {
	if !o.throttled {
		if c := s.find(id); c != nil {
			c.answered(now)
		}
		s.answered(now)
		return
	}
	for i := range s.Clients {
		since := now.Sub(time.UnixMilli(s.Clients[i].At))
		byHost = byHost || s.Clients[i].ID != id && s.Clients[i].Throttled > 0 && since.Abs() < hostSilence
	}
	s.client(now, id).throttle(now, o.retryAfter)
	if byHost {
		s.throttle(now, o.retryAfter)
	}
}

// outcome is what the result of an exchange says about the server.
type outcome struct {
	throttled  bool
	retryAfter time.Duration
}

func outcomeOfExchange(failure *oauth.Error) (o outcome, answered bool) {
	if failure == nil {
		return o, true
	}
	o.throttled = failure.Status == 429 || failure.Status == 503 && failure.RetryAfter > 0
	o.retryAfter = failure.RetryAfter
	return o, failure.Status != 0
}

// throttled reports whether the server or the client was asked not to call.
func (s *server) throttled(id uint64) bool {
	c := s.find(id)
	return s.Throttled > 0 || c != nil && c.Throttled > 0
}

// merge adds the silences of another state that have not ended: the table may have lost them,
// or never had them.
func (s *server) merge(now time.Time, other *server) {
	if other.remaining(now) > s.remaining(now) {
		s.silence = other.silence
	}
	for _, c := range other.Clients {
		if known := s.find(c.ID); c.remaining(now) > 0 && (known == nil || c.remaining(now) > known.remaining(now)) {
			s.client(now, c.ID).silence = c.silence
		}
	}
}

// wanted reports whether another client wants the server.
func (s *server) wanted(now time.Time, id uint64) bool {
	for _, c := range s.Clients {
		if since := now.Sub(time.UnixMilli(c.Wanted)); c.ID != id && since.Abs() < wantTime {
			return true
		}
	}
	return false
}

func (s *server) find(id uint64) *clientBudget {
	for i := range s.Clients {
		if s.Clients[i].ID == id {
			return &s.Clients[i]
		}
	}
	return nil
}

// client returns the state of a client, which may take the place of one that is not silenced
// and has not asked for longest.
func (s *server) client(now time.Time, id uint64) *clientBudget {
	if c := s.find(id); c != nil {
		return c
	}
	if len(s.Clients) < maxServerClients {
		s.Clients = append(s.Clients, clientBudget{ID: id})
		return &s.Clients[len(s.Clients)-1]
	}
	oldest := &s.Clients[0]
	for i := range s.Clients {
		c := &s.Clients[i]
		if c.remaining(now) < oldest.remaining(now) || c.remaining(now) == oldest.remaining(now) && c.Wanted < oldest.Wanted {
			oldest = c
		}
	}
	*oldest = clientBudget{ID: id}
	return oldest
}

func (c *clientBudget) want(now time.Time) {
	if now.Sub(time.UnixMilli(c.Wanted)).Abs() >= wantNote {
		c.Wanted = now.UnixMilli()
	}
}

// remaining returns how long no exchange is to be made. A wait that is longer than a server may
// ask for can only come from another environment's skewed clock; it is ignored.
func (x *silence) remaining(now time.Time) time.Duration {
	if wait := time.UnixMilli(x.Silent).Sub(now); x.Throttled > 0 && wait <= oauth.MaxRetryAfter {
		return max(0, wait)
	}
	return 0
}

// probe makes the caller find out whether a throttling server can be called again.
func (x *silence) probe(now time.Time) {
	if x.Throttled > 0 {
		x.Probe = now.Add(probeTime).UnixMilli()
	}
}

// throttle begins a silence.
func (x *silence) throttle(now time.Time, retryAfter time.Duration) {
	lasts := max(retryAfter, min(firstSilence<<min(x.Throttled, 10), longSilence))
	*x = silence{Throttled: x.Throttled + 1, At: now.UnixMilli(), Silent: now.Add(lasts).UnixMilli()}
}

// answered ends the backoff if the silence is over. An exchange that began before it says
// nothing.
func (x *silence) answered(now time.Time) {
	if x.remaining(now) == 0 {
		*x = silence{}
	}
}

// readServer reads the note of a row.
func readServer(note []byte) (s server) {
	_ = json.Unmarshal(note, &s)
	s.Clients = s.Clients[:min(len(s.Clients), maxServerClients)]
	return s
}
