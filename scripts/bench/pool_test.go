package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// echo is a sandbox that answers with its event. The event "die" ends it.
type echo struct {
	stopped *int
	number  int
}

func (e echo) handle(event []byte, _ string) ([]byte, bool, error) {
	if string(event) == "die" {
		return nil, false, errors.New("exited")
	}
	return event, strings.HasPrefix(string(event), "fail"), nil
}

func (e echo) stop() error {
	*e.stopped++
	return nil
}

func newEchoPool(reserved int) (p *pool, stopped *int) {
	stopped, number := new(int), 0
	return newPool(reserved, func(context.Context) (sandbox, error) {
		number++
		return echo{stopped, number}, nil
	}), stopped
}

func acquire(t *testing.T, p *pool, cold bool) *lease {
	t.Helper()
	l, err := p.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.cold != cold {
		t.Errorf("got an environment with cold %v, want %v", l.cold, cold)
	}
	return l
}

// An environment has one event at a time, and there are no more than are reserved.
func TestPoolThrottlesBeyondReservedConcurrency(t *testing.T) {
	p, _ := newEchoPool(2)
	one, two := acquire(t, p, true), acquire(t, p, true)
	if _, err := p.acquire(t.Context()); !errors.Is(err, errThrottled) {
		t.Errorf("a third event: got %v, want errThrottled", err)
	}
	if answer, failed, err := one.run([]byte("a")); string(answer) != "a" || failed || err != nil {
		t.Errorf("got %q, %v, %v, want the answer", answer, failed, err)
	}
	if again := acquire(t, p, false); again.id == one.id || again.id == two.id {
		t.Error("two events have one id")
	}
	if started, most := p.counts(); started != 2 || most != 2 {
		t.Errorf("got %d environments started, %d at most, want 2 and 2", started, most)
	}
}

func TestPoolReplacesEnvironments(t *testing.T) {
	p, stopped := newEchoPool(1)
	if _, _, err := acquire(t, p, true).run([]byte("die")); err == nil || *stopped != 1 {
		t.Errorf("a dead process: got %v, %d stopped", err, *stopped)
	}
	if _, failed, err := acquire(t, p, true).run([]byte("fail")); !failed || err != nil {
		t.Errorf("a function error: got %v, %v", failed, err)
	}
	if err := p.retire(5); err != nil || *stopped != 2 {
		t.Errorf("got %v, %d stopped, want 2", err, *stopped)
	}
	acquire(t, p, true)
}

// An environment that does not start leaves its place to the next event.
func TestPoolSurvivesFailedStart(t *testing.T) {
	failure := errors.New("no such file")
	p := newPool(1, func(context.Context) (sandbox, error) { return nil, failure })
	for range 2 {
		if _, err := p.acquire(t.Context()); !errors.Is(err, failure) {
			t.Errorf("got %v, want the failure", err)
		}
	}
}

func TestPoolTakesTheEnvironmentThatIsIdleLongest(t *testing.T) {
	p, _ := newEchoPool(2)
	one, two := acquire(t, p, true), acquire(t, p, true)
	first := one.s
	for _, l := range []*lease{one, two} {
		if _, _, err := l.run(nil); err != nil {
			t.Fatal(err)
		}
	}
	if acquire(t, p, false).s != first {
		t.Error("the environment that was idle longest did not get the event")
	}
}
