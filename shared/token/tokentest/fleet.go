package tokentest

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/reading"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
)

// Fleet is an Env with several environments and one table.
type Fleet struct {
	*Env
	Table   fleettest.Table
	Keys    fleettest.Keys
	Vendors []*token.Vendor
}

// RunFleet runs a test with n environments in a bubble of its own.
func RunFleet(t *testing.T, n int, test func(t *testing.T, f *Fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, NewFleet(t, n)) })
}

// NewFleet returns a Fleet of n environments. t must be that of a bubble.
func NewFleet(t *testing.T, n int) *Fleet {
	f := &Fleet{Env: New(t)}
	// At midnight the table's key changes, which costs calls that tests count.
	f.Pass(25*time.Hour - time.Duration(f.Now().UnixNano())%(24*time.Hour))
	for range n {
		f.Vendors = append(f.Vendors, f.Environment(nil))
	}
	return f
}

// Environment starts one more environment. change may change its configuration.
func (f *Fleet) Environment(change func(*token.Config)) *token.Vendor {
	return f.environment(f.Now, change)
}

// Skewed starts one more environment, whose clock is ahead.
func (f *Fleet) Skewed(by time.Duration) *token.Vendor {
	return f.environment(func() time.Time { return f.Now().Add(by) }, nil)
}

func (f *Fleet) environment(now func() time.Time, change func(*token.Config)) *token.Vendor {
	shared := fleet.New(fleet.Config{Table: &f.Table, Keys: &f.Keys, Count: f.count, Now: now})
	shared.Open(f.Context())
	documents := f.Registry()
	documents.Now = now
	documents.Secrets = reading.New(reading.Config{Secrets: documents.Secrets, Fleet: shared, Count: f.count, Now: now})
	cfg := token.Config{
		Clients:   registry.New(documents),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: now}),
		Fleet:     shared, Count: f.count, Now: now,
	}
	if change != nil {
		change(&cfg)
	}
	return token.New(cfg)
}

// All asks all environments at once, each as often as times, and returns the fingerprints of
// the tokens with their numbers, and the errors.
func (f *Fleet) All(times int, r token.Request) (fingerprints map[string]int, errs []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	fingerprints = make(map[string]int)
	for _, v := range f.Vendors {
		for range times {
			all.Go(func() {
				grant, err := f.Ask(v, r)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					errs = append(errs, err)
					return
				}
				fingerprints[grant.Token.Fingerprint()]++
			})
		}
	}
	all.Wait()
	return fingerprints, errs
}

// WantTokens asks all environments three times at once, which must get so many different
// tokens.
func (f *Fleet) WantTokens(want int) {
	f.Helper()
	if got, errs := f.All(3, token.Request{}); len(got) != want || len(errs) != 0 {
		f.Errorf("got %d different tokens and errors %v, want %d tokens", len(got), errs, want)
	}
}

// Announce fetches a token ahead in the i-th environment.
func (f *Fleet) Announce(i int, r token.Request, o token.Order) token.Announcement {
	f.Helper()
	announced, err := f.TryAnnounce(i, r, o)
	if err != nil {
		f.Fatal(err)
	}
	return announced
}

// TryAnnounce is Announce for an order that may fail.
func (f *Fleet) TryAnnounce(i int, r token.Request, o token.Order) (token.Announcement, error) {
	if r.Client == "" {
		r.Client = "billing"
	}
	return f.Vendors[i].Announce(f.Context(), ReadOrder(r, o))
}

// ReadOrder returns a function that reads an order for r.
func ReadOrder(r token.Request, o token.Order) func(*token.Order) error {
	return func(read *token.Order) error {
		*read.Request, read.ID, read.For, read.Time = r, o.ID, o.For, o.Time
		return nil
	}
}

// Redeem asks the i-th environment for what was announced.
func (f *Fleet) Redeem(i int, claim, caller string) (token.Grant, error) {
	return f.Ask(f.Vendors[i], token.Request{Claim: claim, Caller: caller})
}

// Leased returns how many rows of the table are leased.
func (f *Fleet) Leased() (n int) {
	for _, item := range f.Table.Items() {
		if item.Owner != "" {
			n++
		}
	}
	return n
}
