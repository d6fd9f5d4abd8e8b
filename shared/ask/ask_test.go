package ask_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
)

func TestEachMemberChangesKey(t *testing.T) {
	asktest.EachChangesKey(t, func(a ask.Ask) ask.Key { return a.Key() })
}

func TestEachMemberIsEncodedAsJSON(t *testing.T) {
	full := asktest.Full(t)
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var got ask.Ask
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v, error %v, want %+v", got, err, full)
	}
}

func TestIsZeroDependsOnEachMember(t *testing.T) {
	if zero := (ask.Ask{}); !zero.IsZero() {
		t.Error("IsZero is false for the zero value")
	}
	full := reflect.ValueOf(asktest.Full(t))
	for i := range full.NumField() {
		var a ask.Ask
		reflect.ValueOf(&a).Elem().Field(i).Set(full.Field(i))
		if a.IsZero() {
			t.Errorf("IsZero does not depend on %s", full.Type().Field(i).Name)
		}
	}
}

// TestKeyKeepsFieldsApart uses asks that differ only in where one field ends.
func TestKeyKeepsFieldsApart(t *testing.T) {
	seen := make(map[ask.Key]int)
	for i, a := range []ask.Ask{
		{},
		{Scope: []string{"ab"}}, {Scope: []string{"a", "b"}}, {Scope: []string{"a"}, Resource: []string{"b"}}, {Resource: []string{"a", "b"}},
		{Scope: []string{""}}, {Scope: []string{"", ""}},
		{Audience: "ab"}, {Audience: "a", TokenFormat: "b"}, {TokenFormat: "ab"}, {TokenFormat: "a", AppTID: "b"}, {AppTID: "ab"},
		{Parameters: map[string]string{"a": "b"}}, {Parameters: map[string]string{"ab": ""}}, {Parameters: map[string]string{"": "ab"}},
		{Parameters: map[string]string{"a": "", "b": ""}}, {Parameters: map[string]string{"app_tid": "ab"}},
	} {
		if other, ok := seen[a.Key()]; ok {
			t.Errorf("asks %d and %d have the same key", other, i)
		}
		seen[a.Key()] = i
	}
}

func TestTargetsDoesNotChangeResource(t *testing.T) {
	resource := make([]string, 1, 2)
	resource[0] = "urn:a"
	a := ask.Ask{Resource: resource, Audience: "b"}
	if got := a.Targets(); !reflect.DeepEqual(got, []string{"urn:a", "b"}) || resource[:2][1] != "" {
		t.Errorf("got %q and resource %q, want [urn:a b] and an unchanged resource", got, resource[:2])
	}
	a.Audience = ""
	if got := a.Targets(); !reflect.DeepEqual(got, []string{"urn:a"}) {
		t.Errorf("without an audience: got %q, want [urn:a]", got)
	}
}
