package registry

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
)

// heap returns how much memory each of n values takes that made returns.
func heap(n int, made func(i int) any) int {
	values := make([]any, n)
	used := func() int {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC() // the first one may only find what the second one frees
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	before := used()
	for i := range values {
		values[i] = made(i)
	}
	after := used()
	runtime.KeepAlive(values)
	return (after - before) / n
}

// TestSizeIsThatInMemory: a cache that is bounded in bytes must count what clients hold, and must
// not count what they share.
func TestSizeIsThatInMemory(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	m := testMaterial()
	bundle := m.PEM["ca"] + keypairtest.CertificatePEM(m.Intermediate.Certificate)
	many := manyAuthorities(m) // more than is shared
	for name, tt := range map[string]struct {
		document members
		own      bool // what it holds is its own
	}{
		"secret":                      {members{"client_secret": secret}, false},
		"parameters":                  {members{"client_secret": secret, "scope": "read write", "resource": []string{"urn:sap:a", "urn:sap:b"}, "parameters": members{"app_tid": "t", "zone": "z"}, "allow_parameters": []string{"scope"}}, false},
		"headers":                     {members{"client_secret": secret, "headers": members{"X-Api-Key": secret, "X-Other": secret}}, false},
		"certificate":                 {members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"]}, true},
		"certificate and authorities": {members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"], "ca_certificates": bundle}, true},
		"RSA key":                     {members{"private_key": m.PEM["rsa.key"]}, false},
		"EC key":                      {members{"private_key": m.PEM["ec256.key"]}, false},
		"shared authorities":          {members{"client_secret": secret, "ca_certificates": bundle}, false},
		"many authorities":            {members{"client_secret": secret, "ca_certificates": many}, true},
		"shadow":                      {members{"client_secret": secret, "shadow": members{"client_secret": "other", "client_id": "second"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Config{Secrets: anyClient(native(tt.document)), Now: keypairtest.Now, Discover: discoverExample})
			load := func(i int) any {
				c, _, err := r.Load(t.Context(), fmt.Sprint("client-", i), Have{})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			first := load(0).(*Client)
			got, want := first.Size(), heap(100, load)
			if got < want*3/4 || got > want*5/4 {
				t.Errorf("Size is %d bytes, the heap grows by %d", got, want)
			}
			if own := first.OAuth.Connection().Size() > 0; own != tt.own {
				t.Errorf("it has its own connections: %t, want %t", own, tt.own)
			}
		})
	}
}

func manyAuthorities(m *keypairtest.Material) string {
	var all strings.Builder
	for range 80 {
		all.WriteString(keypairtest.CertificatePEM(keypairtest.SelfSigned(m.EC256)))
	}
	return all.String()
}
