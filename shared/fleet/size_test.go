package fleet

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCensus: the error is below four standard deviations, the encoding loses nothing, the
// row takes one write unit, and few environments of a large fleet change it.
func TestCensus(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 10, 100, 1000, 3000, 10_000, 100_000} {
		var c census
		writes := 0
		for range n {
			var z size
			z.choose(random.Float64)
			if c.count(0, z.register, z.rank) {
				writes++
			}
		}
		if got := c.size(); got < n*82/100 || got > n*118/100 {
			t.Errorf("got %d for %d environments", got, n)
		}
		if n >= 10_000 && writes > n*3/10 {
			t.Errorf("%d of %d environments changed the census", writes, n)
		}
		if readCensus(c.encode()) != c {
			t.Errorf("%d environments: another census after encoding", n)
		}
	}
	key, err := newSeal("2026-11-29", make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	name := nameRow(key, sizeRow, sizeID)
	item := sealRow(key, sizeRow, name, state{Until: 1, Note: (&census{}).encode(), Written: 1 << 42, Generation: 1 << 42}, nil, time.UnixMilli(1<<42))
	// The names of the attributes have 34 bytes, and the numbers some 16.
	if bytes := len(item.Name) + len(item.State) + 34 + 16; bytes > 1<<10 {
		t.Errorf("the row has %d bytes, want at most 1024", bytes)
	}
}
