// Package asktest helps to test that an encoding of an [ask.Ask] loses no member.
package asktest

import (
	"reflect"
	"testing"

	"tokenvendor/shared/ask"
)

// Full returns an Ask in which no member has its zero value.
func Full(t *testing.T) ask.Ask {
	t.Helper()
	var a ask.Ask
	v := reflect.ValueOf(&a).Elem()
	for i := range v.NumField() {
		set(t, v.Type().Field(i).Name, v.Field(i))
	}
	return a
}

// Each returns an Ask for each member, by its name, that differs from [Full] in this member
// only.
func Each(t *testing.T) map[string]ask.Ask {
	t.Helper()
	all := make(map[string]ask.Ask)
	v := reflect.TypeFor[ask.Ask]()
	for i := range v.NumField() {
		a := Full(t)
		reflect.ValueOf(&a).Elem().Field(i).SetZero()
		all[v.Field(i).Name] = a
	}
	return all
}

// EachChangesKey reports an error for each member of Ask that does not change the result of
// key.
func EachChangesKey[K comparable](t *testing.T, key func(ask.Ask) K) {
	t.Helper()
	full := key(Full(t))
	if full != key(Full(t)) {
		t.Error("equal asks have different keys")
	}
	for name, a := range Each(t) {
		if key(a) == full {
			t.Errorf("the key does not depend on %s", name)
		}
	}
}

// set sets a member to a value that a request may contain: lists are sorted, and TokenFormat
// is one of SAP's.
func set(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	text := "ask-" + name
	switch name {
	case "TokenFormat":
		text = "opaque"
	case "Resource":
		text = "urn:ask:resource"
	}
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case []string:
		v.Set(reflect.ValueOf([]string{text, text + "-2"}))
	case map[string]string:
		v.Set(reflect.ValueOf(map[string]string{"login_hint": text}))
	default:
		t.Fatalf("asktest has no value for the member %s of type %s", name, v.Type())
	}
}
