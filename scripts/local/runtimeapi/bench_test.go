package runtimeapi

import "testing"

// BenchmarkInvoke measures the round trip of a warm function that does nothing.
func BenchmarkInvoke(b *testing.B) {
	r, err := Start(testConfig())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for b.Loop() {
		if result, err := r.Invoke(b.Context(), Invocation{Payload: []byte(`{"do":"grow"}`)}); err != nil || result.FunctionError != "" {
			b.Fatal(err, string(result.Payload))
		}
	}
}
