package clock_test

import (
	"path/filepath"
	"testing"
	"time"

	"tokenvendor/scripts/bench/clock"
)

func TestClockIsAhead(t *testing.T) {
	file := clock.File(filepath.Join(t.TempDir(), "clock"))
	if err := file.Advance(time.Second); err == nil {
		t.Error("a clock without a file was advanced")
	}
	t.Setenv(clock.Variable, string(file))
	for i, step := range []time.Duration{0, time.Hour, 30 * time.Minute, 0} {
		want := []time.Duration{0, time.Hour, 90 * time.Minute, 0}[i]
		change := func() error { return file.Advance(step) }
		if step == 0 {
			change = file.Reset
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		for _, now := range []time.Time{clock.Now(), file.Now()} {
			if ahead := time.Until(now).Round(time.Second); ahead != want {
				t.Errorf("step %d: the clock is %v ahead, want %v", i, ahead, want)
			}
		}
	}
}
