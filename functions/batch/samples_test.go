package main

import (
	"encoding/json"
	"os"
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

// The state machine of the example retries or catches every error code of the function and no
// other, and selects no token, so that its history holds none.
func TestStateMachineHandlesEveryError(t *testing.T) {
	text, err := os.ReadFile("../../events/batch/nightly.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			ItemProcessor struct {
				States map[string]struct {
					ResultSelector map[string]string
					Retry, Catch   []struct{ ErrorEquals []string }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &machine); err != nil {
		t.Fatal(err)
	}
	fetch := machine.States["EachClient"].ItemProcessor.States["FetchAhead"]
	handled := make(map[string]bool)
	for _, one := range append(fetch.Retry, fetch.Catch...) {
		for _, name := range one.ErrorEquals {
			handled[name] = true
		}
	}
	codes := make(map[string]bool)
	for kind := fault.Internal; kind <= fault.Timeout; kind++ {
		if code := kind.Code(); code != "unsupported_grant_type" { // an order has no grant type
			codes[code] = true
		}
	}
	for code := range codes {
		if !handled[code] {
			t.Errorf("the state machine handles no %s", code)
		}
	}
	for name := range handled {
		if !codes[name] && !strings.HasPrefix(name, "Lambda.") {
			t.Errorf("the state machine handles %s, which is no error of the function", name)
		}
	}
	if len(fetch.ResultSelector) != 2 || fetch.ResultSelector["claim.$"] != "$.Payload.claim" || fetch.ResultSelector["client.$"] != "$.Payload.client" {
		t.Errorf("selected %v, want claim and client", fetch.ResultSelector)
	}
}
