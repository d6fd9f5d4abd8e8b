package client

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// Of two URLs the first says when to try again, and the second has no connection: the first is
// left alone until then, and its error is that of the vendor.
func TestRetryAfterOfOneOfTwoURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v, firstURL, secondURL)
		first := 0
		v.answers(func(at call, _ int) (int, string, string) {
			if !strings.HasPrefix(at.host, "one.") {
				return 0, "", ""
			}
			first++
			return 503, "Retry-After: 300", `{"error":"temporarily_unavailable","error_description":"the server is down","request_id":"r"}`
		})
		for range 290 {
			_, err := c.Token(t.Context(), Request{Client: "billing"})
			var failure *Error
			if !errors.As(err, &failure) || failure.Description != "the server is down" || failure.RetryAfter <= 0 || failure.RetryAfter > 31*time.Second {
				t.Fatalf("got %v, want the vendor's error with the time of the second URL", err)
			}
			time.Sleep(time.Second)
		}
		if first != 1 {
			t.Errorf("got %d calls of the first URL in 290 s, want 1", first)
		}
		// Another request for the client, and a dry run, are not meant.
		other := Request{Client: "billing"}
		other.Scope = []string{"read"}
		_, _ = c.Token(t.Context(), other)
		_, _ = c.Explain(t.Context(), Request{Client: "billing"})
		if first != 3 {
			t.Errorf("got %d calls of the first URL, want 3", first)
		}
	})
}

func TestVendorsErrorSaysMoreThanAConnection(t *testing.T) {
	for _, order := range [][]string{{firstURL, secondURL}, {secondURL, firstURL}} {
		v := &vendor{answer: func(at call, _ int) (int, string, string) {
			if strings.HasPrefix(at.host, "one.") {
				return 502, "", `{"error":"server_error","error_description":"the document","request_id":"r"}`
			}
			return 0, "", ""
		}}
		_, err := newClient(t, v, order...).Token(t.Context(), Request{Client: "billing"})
		var failure *Error
		if !errors.As(err, &failure) || failure.Status != http.StatusBadGateway || failure.Code != "server_error" {
			t.Errorf("got %v, want server_error", err)
		}
	}
}

// When the minute is over, one call tries the first URL, and the others go on.
func TestOneCallTriesTheFirstURLAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{hangs: "one."}
		c := newClient(t, v, firstURL, secondURL)
		mustToken(t, c, Request{Client: "billing"})
		time.Sleep(stickyTime)
		begun, late := time.Now(), 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				mustToken(t, c, Request{Client: "c" + string(rune('a'+i%26)) + string(rune('a'+i/26))})
				mu.Lock()
				defer mu.Unlock()
				if time.Since(begun) > 0 {
					late++
				}
			})
		}
		all.Wait()
		if late != 1 {
			t.Errorf("got %d calls that waited for the first URL, want 1", late)
		}
	})
}

// A call that began at the first URL before that failed does not bring it back.
func TestSlowCallDoesNotEndTheMinute(t *testing.T) {
	a := &api{now: time.Now, endpoints: make([]endpoint, 2)}
	at, probe := a.begin()
	a.use(1, true, false)
	a.use(at, false, probe)
	if at, _ := a.begin(); at != 1 {
		t.Error("the first URL is used within the minute")
	}
}

// A proxy can have errors of its own; only the vendor's denial costs the token.
func TestErrorOfAProxyCostsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v)
		first := mustToken(t, c, Request{Client: "billing"})
		time.Sleep(49 * time.Minute)
		v.answers(func(call, int) (int, string, string) { return 403, "", `{"error":"blocked by ` + canary + `"}` })
		for range 2 {
			if mustToken(t, c, Request{Client: "billing"}) != first {
				t.Error("got another token")
			}
		}
		_, err := c.Token(t.Context(), Request{Client: "other"})
		var failure *Error
		if !errors.As(err, &failure) || failure.Code != "" || strings.Contains(err.Error(), canary) {
			t.Errorf("got %v, want an error without code", err)
		}
	})
}

// While a process is frozen, the monotonic clock stops.
func TestTokenAgesWhileFrozen(t *testing.T) {
	c := newClient(t, &vendor{})
	token := mustToken(t, c, Request{Client: "billing"})
	for _, at := range []time.Time{token.Expiry(), token.Refresh(), token.received} {
		if strings.Contains(at.String(), "m=") {
			t.Errorf("got the time %v with a monotonic reading", at)
		}
	}
}

// A clock that was ahead by two hours when a call failed holds no call after it is right again.
func TestClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			answer func(call, int) (int, string, string)
			pause  time.Duration
			urls   []string
		}{
			"no connection": {status(0), longBackoff, []string{firstURL}},
			"Retry-After":   {func(call, int) (int, string, string) { return 503, "Retry-After: 300", "{}" }, 300 * time.Second, []string{firstURL}},
			"one of two": {func(at call, _ int) (int, string, string) {
				return map[bool]int{true: 500, false: 403}[strings.HasPrefix(at.host, "one.")], "", "{}"
			}, stickyTime, []string{firstURL, secondURL}},
		} {
			ahead, v := 2*time.Hour, &vendor{answer: test.answer}
			c := newClientAt(t, v, func() time.Time { return time.Now().Add(ahead) }, test.urls...)
			for range 2 {
				_, _ = c.Token(t.Context(), Request{Client: "billing"})
			}
			ahead = 0
			v.answers(nil)
			time.Sleep(test.pause)
			before := v.count()
			if _, err := c.Token(t.Context(), Request{Client: "billing"}); err != nil || v.count() != before+1 || !strings.HasPrefix(v.last().host, "one.") {
				t.Errorf("%s: got error %v, %d calls, want one of the first URL", name, err, v.count()-before)
			}
		}
	})
}

// A token in memory does not live longer because the clock is set back: to before its request, or to
// less than what has passed on the monotonic clock.
func TestTokenAgesWhenClockIsSetBack(t *testing.T) {
	base := time.Now()
	less := base.Add(40 * time.Minute)
	*(*uint64)(unsafe.Pointer(&less)) -= 30 * 60 << 30 // half an hour on the wall clock only
	for name, at := range map[string]time.Time{"before": base.Add(-time.Hour), "less": less} {
		now, v := base, &vendor{}
		c := newClientAt(t, v, func() time.Time { return now }, firstURL)
		mustToken(t, c, Request{Client: "billing"})
		now = at
		for range 2 {
			if token := mustToken(t, c, Request{Client: "billing"}); token.received.Sub(at) != 0 {
				t.Errorf("%s: got a token of %v before", name, at.Round(0).Sub(token.received))
			}
		}
		if n := v.count(); n != 2 {
			t.Errorf("%s: got %d calls, want 2", name, n)
		}
	}
}

// A parameter cannot replace the client of a direct invoke.
func TestParameterDoesNotReplaceTheClient(t *testing.T) {
	v := &vendor{}
	r := Request{Client: "billing"}
	r.Parameters = map[string]string{"client": "other"}
	mustToken(t, newClient(t, v, functionARN), r)
	if got := v.last().body["client"]; got != "billing" {
		t.Errorf("got the client %v", got)
	}
}
