package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"tokenvendor/shared/fault"
)

// TestSamples: the files of events/batch do what they are there to show.
func TestSamples(t *testing.T) {
	for name, want := range map[string]struct {
		announced int
		answer    string
	}{
		"sqs": {2, `{"batchItemFailures":[]}`}, "eventbridge": {2, ""}, "schedule": {1, `"written":true`}, "state-machine": {0, `"claim":"`},
	} {
		r := newHarness(t)
		r.secrets["token-vendor/tokens/billing"] = &targetSecret{}
		payload, err := os.ReadFile("../../events/batch/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		answer, kind, text := r.invoke(r.h, string(payload))
		if kind != "" || len(r.events) != want.announced || !strings.Contains(answer, want.answer) {
			t.Errorf("%s: announced %d, answered %s %s %s", name, len(r.events), answer, kind, text)
		}
	}
}

// TestStateMachine: what the worked state machine retries and catches are the names of
// our errors, all of them, and its history holds no token.
func TestStateMachine(t *testing.T) {
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
		if code := kind.Code(); code != "unsupported_grant_type" { // no order says a grant type
			codes[code] = true
		}
	}
	for code := range codes {
		if !handled[code] {
			t.Errorf("nothing is done about %s", code)
		}
	}
	for name := range handled {
		if !codes[name] && !strings.HasPrefix(name, "Lambda.") {
			t.Errorf("%s is no error of ours", name)
		}
	}
	// The rest of the history is what is selected here.
	if len(fetch.ResultSelector) != 2 || fetch.ResultSelector["claim.$"] != "$.Payload.claim" || fetch.ResultSelector["client.$"] != "$.Payload.client" {
		t.Errorf("selects %v", fetch.ResultSelector)
	}
}
