package app

import (
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestNoFunctionWaitsForAnother proves that functions run at once, however many there are, and that
// only a few goroutines are kept for the next ones.
func TestNoFunctionWaitsForAnother(t *testing.T) {
	const functions = 20
	w, before := newWorkers(), runtime.NumGoroutine()
	for range 3 {
		var running, ended sync.WaitGroup
		running.Add(functions)
		ended.Add(functions)
		for range functions {
			w.run(func() {
				defer ended.Done()
				running.Done()
				running.Wait() // for all others
			})
		}
		ended.Wait()
		for runtime.NumGoroutine() > before+maxIdle {
			runtime.Gosched()
		}
	}
}

// TestGoroutinesAreUsedAgain proves that functions that run one after the other share goroutines.
func TestGoroutinesAreUsedAgain(t *testing.T) {
	const functions = 100
	w, used := newWorkers(), make(map[string]bool)
	for range functions {
		name := make(chan string)
		w.run(func() {
			stack := make([]byte, 64)
			id, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
			name <- id
		})
		used[<-name] = true
		for len(w.idle) == 0 {
			runtime.Gosched()
		}
	}
	// A goroutine may not wait yet when the next function comes.
	if len(used) > functions/2 {
		t.Errorf("got %d goroutines for %d functions, want a few", len(used), functions)
	}
}
