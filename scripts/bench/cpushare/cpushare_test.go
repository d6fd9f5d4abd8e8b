package cpushare_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"tokenvendor/scripts/bench/cpushare"
)

// TestMain also is the process that uses all that it gets, on two threads.
func TestMain(m *testing.M) {
	if os.Getenv("BENCH_BUSY") == "" {
		os.Exit(m.Run())
	}
	go func() {
		for {
			_ = time.Now()
		}
	}()
	for {
		_ = time.Now()
	}
}

func busy(t *testing.T) (pid int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip(cpushare.ErrUnsupported)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BENCH_BUSY=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func used(t *testing.T, pid int) time.Duration {
	t.Helper()
	d, err := cpushare.Used(pid)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A loop gets 256/1769 of a core. A machine that is busy with something else gives less to
// the loop, so that the test tries again.
func TestLimitGivesTheShare(t *testing.T) {
	share := cpushare.OfMemory(256)
	var got float64
	for range 5 {
		pid := busy(t)
		stop, err := cpushare.Limit(pid, share)
		if err != nil {
			t.Fatal(err)
		}
		begin, before := time.Now(), used(t, pid)
		time.Sleep(50 * cpushare.Period)
		got = float64(used(t, pid)-before) / float64(time.Since(begin))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got > 0.85*share && got < 1.15*share {
			return
		}
	}
	t.Errorf("the loop ran for %.4f of the time, want %.4f within 15 %%", got, share)
}

func TestStopRemovesTheLimit(t *testing.T) {
	pid := busy(t)
	share := 0.01
	stop, err := cpushare.Limit(pid, share)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * cpushare.Period)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	begin, before := time.Now(), used(t, pid)
	time.Sleep(10 * cpushare.Period)
	if got := float64(used(t, pid)-before) / float64(time.Since(begin)); got < 5*share {
		t.Errorf("the loop ran for %.4f of the time after the end of the limit of %.2f", got, share)
	}
}

func TestEndedProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := cpushare.Limit(cmd.Process.Pid, 1); err == nil {
		t.Error("the limit of an ended process has no error")
	}
	if _, err := cpushare.Used(cmd.Process.Pid); err == nil || runtime.GOOS != "linux" && !errors.Is(err, cpushare.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}
