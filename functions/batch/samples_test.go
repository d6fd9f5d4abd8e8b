package main

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/fault"
)

func TestSampleEventsAreDone(t *testing.T) {
	for name, want := range map[string]struct {
		announced int
		answer    string
	}{
		"sqs": {2, `{"batchItemFailures":[]}`}, "eventbridge": {2, ""}, "schedule": {1, `"written":true`}, "state-machine": {0, `"claim":"`},
	} {
		payload, err := os.ReadFile("../../events/batch/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		run(t, func(t *testing.T, r *harness) {
			r.target("billing")
			answer, kind, text := r.invoke(r.h, string(payload))
			if kind != "" || len(r.bus.events) != want.announced || !strings.Contains(answer, want.answer) {
				t.Errorf("%s: got %d announcements, answer %s, error %q (%s); want %d and %s", name, len(r.bus.events), answer, kind, text, want.announced, want.answer)
			}
		})
	}
}

// task is a state of the state machine of the example.
type task struct {
	Parameters     map[string]any
	ResultSelector map[string]string
	Retry          []struct {
		ErrorEquals []string
		MaxAttempts int
	}
	Catch []struct {
		ErrorEquals      []string
		ResultPath, Next string
	}
}

func stateMachine(t *testing.T) (fetch, job task) {
	t.Helper()
	text, err := os.ReadFile("../../events/batch/nightly.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			ItemProcessor struct{ States map[string]task }
		}
	}
	if err := json.Unmarshal(text, &machine); err != nil {
		t.Fatal(err)
	}
	states := machine.States["EachClient"].ItemProcessor.States
	return states["FetchAhead"], states["Job"]
}

// The state machine of the example retries every error but the permanent ones of the function, and
// selects no token, so that its history holds none.
func TestStateMachineHandlesEveryError(t *testing.T) {
	fetch, _ := stateMachine(t)
	permanent := make(map[string]bool)
	for kind := fault.Internal; kind <= fault.Timeout; kind++ {
		if code := kind.Code(); code != "temporarily_unavailable" {
			permanent[code] = true
		}
	}
	if len(fetch.Retry) != 2 || fetch.Retry[0].MaxAttempts != 0 || fetch.Retry[1].MaxAttempts == 0 || !slices.Equal(fetch.Retry[1].ErrorEquals, []string{"States.ALL"}) {
		t.Fatalf("got %v, want no retry of permanent errors, and one of all others", fetch.Retry)
	}
	if got, want := slices.Sorted(slices.Values(fetch.Retry[0].ErrorEquals)), slices.Sorted(maps.Keys(permanent)); !slices.Equal(got, want) {
		t.Errorf("got no retry of %v, want %v", got, want)
	}
	if len(fetch.ResultSelector) != 2 || fetch.ResultSelector["claim.$"] != "$.Payload.claim" || fetch.ResultSelector["client.$"] != "$.Payload.client" {
		t.Errorf("selected %v, want claim and client", fetch.ResultSelector)
	}
}

// A failed iteration of a Map stops all others, unless every error is caught. A name of AWS Batch has
// up to 128 of the characters that a client's name has, and some others; that of an execution may
// have more.
func TestStateMachineGoesOnAfterAFailedClient(t *testing.T) {
	fetch, job := stateMachine(t)
	for name, one := range map[string]task{"FetchAhead": fetch, "Job": job} {
		// Without ResultPath the error replaces the order.
		if len(one.Catch) != 1 || !slices.Equal(one.Catch[0].ErrorEquals, []string{"States.ALL"}) || one.Catch[0].ResultPath != "$.failure" || one.Catch[0].Next != "Failed" {
			t.Errorf("%s catches %v, want States.ALL", name, one.Catch)
		}
	}
	if got := job.Parameters["JobName.$"]; got != "$.ready.client" {
		t.Errorf("got the job's name %v, want that of the client", got)
	}
}
