package tokensource

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
	"tokenvendor/shared/registry"
)

// fields are everything that decides which token an exchange brings, in an order
// in which neighbours also stand side by side in the key.
type fields struct {
	name, terms                   string
	scope, audience, format       string
	resource                      []string
	parameterName, parameterValue string
	otherParameter, otherValue    string
}

// strings returns the single fields, to be changed.
func (f *fields) strings() []*string {
	return []*string{&f.name, &f.terms, &f.scope, &f.audience, &f.format, &f.resource[0], &f.resource[1],
		&f.parameterName, &f.parameterValue, &f.otherParameter, &f.otherValue}
}

func (f fields) clone() fields {
	f.resource = slices.Clone(f.resource)
	return f
}

// equal tells apart what must have different keys.
func (f fields) equal(g fields) bool {
	return f.name == g.name && f.terms == g.terms && f.scope == g.scope &&
		f.audience == g.audience && f.format == g.format && slices.Equal(f.resource, g.resource) && maps.Equal(f.parameters(), g.parameters())
}

func (f fields) parameters() map[string]string {
	p := map[string]string{}
	if f.parameterName != "" {
		p[f.parameterName] = f.parameterValue
	}
	if f.otherParameter != "" {
		p[f.otherParameter] = f.otherValue
	}
	return p
}

func (f fields) key() key {
	r := Request{
		Client: &registry.Client{Name: f.name, Terms: f.terms},
		Ask:    ask.Ask{Scope: []string{f.scope}, Audience: f.audience, TokenFormat: f.format, Resource: f.resource, Parameters: f.parameters()},
	}
	return r.key()
}

func someFields() fields {
	return fields{
		name: "billing", terms: "terms",
		scope: "read write", audience: "aud", format: "jwt", resource: []string{"urn:a", "urn:b"},
		parameterName: "p", parameterValue: "1", otherParameter: "q", otherValue: "2",
	}
}

// TestEachMemberOfAskChangesKey: a key without one would give a caller another request's
// token.
func TestEachMemberOfAskChangesKey(t *testing.T) {
	client := Request{Client: &registry.Client{Name: "billing"}}
	asktest.EachChangesKey(t, func(a ask.Ask) key {
		client.Ask = a
		return client.key()
	})
}

// TestKeyHasEveryField: a key without one of them would give a caller another
// request's token.
func TestKeyHasEveryField(t *testing.T) {
	seen := make(map[key]string)
	check := func(what string, f fields) {
		t.Helper()
		key := f.key()
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[key] = what
	}
	check("the original", someFields())
	f := someFields()
	for i := range f.strings() {
		for _, change := range []func(string) string{
			func(s string) string { return s + "x" },
			func(s string) string { return s + "\x00" },
			func(s string) string { return "x" + s },
			func(s string) string { return s[:len(s)-1] },
		} {
			f := someFields()
			field := f.strings()[i]
			*field = change(*field)
			check(fmt.Sprintf("field %d as %q", i, *field), f)
		}
	}
	f = someFields()
	f.resource = f.resource[:1]
	check("one resource less", f)
	f = someFields()
	f.resource = append(f.resource, "")
	check("an empty resource more", f)
	f = someFields()
	f.parameterName, f.otherParameter = "", ""
	check("no parameters", f)
	f.parameterName, f.parameterValue, f.resource = f.resource[0], f.resource[1], nil
	check("a parameter in the place of two resources", f)
}

// TestKeyKeepsNeighboursApart: moving bytes from a field to its neighbour must make
// another key, whatever the bytes.
func TestKeyKeepsNeighboursApart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	collisions := 0
	for range 100_000 {
		a := someFields()
		for _, field := range a.strings() {
			*field = randomText(random)
		}
		b := a.clone()
		moveBytes(random, b.strings())
		equalKeys := a.key() == b.key()
		if equalKeys != a.equal(b) {
			collisions++
			t.Errorf("%q and %q: equal keys: %v", a, b, equalKeys)
		}
		if collisions > 10 {
			t.FailNow()
		}
	}
}

// randomText uses few letters, among them what naive keys use as borders.
func randomText(random *rand.Rand) string {
	const letters = "ab\x00\x01,|:= "
	text := make([]byte, random.IntN(4))
	for i := range text {
		text[i] = letters[random.IntN(len(letters))]
	}
	return string(text)
}

// moveBytes moves up to three bytes over the border between two neighbours.
func moveBytes(random *rand.Rand, list []*string) {
	i := random.IntN(len(list) - 1)
	left, right := list[i], list[i+1]
	both := *left + *right
	border := random.IntN(len(both) + 1)
	*left, *right = both[:border], both[border:]
}
