//go:build unix

package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestChildrenEndWithTheProcess: the children of the function end after Close and after a
// crash.
func TestChildrenEndWithTheProcess(t *testing.T) {
	for name, end := range map[string]func(*Runtime){
		"Close": func(r *Runtime) {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		},
		"crash": func(r *Runtime) { mustFail(t, invoke(t, r, `{"do":"exit"}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			var out output
			r := start(t, func(c *Config) { c.Stdout, c.Stderr = &out, &out })
			var child struct{ PID int }
			if err := json.Unmarshal(invoke(t, r, `{"do":"child"}`).Payload, &child); err != nil || child.PID == 0 {
				t.Fatal(err, child)
			}
			end(r)
			eventually(t, "the child is gone", func() bool {
				return errors.Is(syscall.Kill(child.PID, 0), syscall.ESRCH) || isZombie(child.PID)
			})
		})
	}
}

func TestFrozenProcessAnswersAfterThaw(t *testing.T) {
	r := start(t, nil)
	if err := r.Freeze(); err == nil || r.PID() != 0 {
		t.Error("Freeze succeeded without a process")
	}
	before := mustReport(t, invoke(t, r, `{}`)).PID
	if r.PID() != before {
		t.Errorf("PID returns %d, want %d", r.PID(), before)
	}
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan Result, 1)
	go func() { answered <- invoke(t, r, `{}`) }()
	select {
	case <-answered:
		t.Fatal("a frozen process answered")
	case <-time.After(100 * time.Millisecond):
	}
	if err := r.Thaw(); err != nil {
		t.Fatal(err)
	}
	if after := mustReport(t, <-answered).PID; after != before {
		t.Error("another process answered")
	}
}

func TestFrozenProcessIsKilledAtDeadline(t *testing.T) {
	r := start(t, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	invoke(t, r, `{}`)
	eventually(t, "the process requests the next event", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.proc.polls) == 1
	})
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	mustFail(t, invoke(t, r, `{}`))
	mustReport(t, invoke(t, r, `{}`))
}

// isZombie reports whether a dead process was not waited for. In a container whose init
// does not reap, an orphan stays a zombie.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
