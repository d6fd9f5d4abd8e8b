package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// TestProcessUsesOneProcessorBelowOne proves that only a function with less than one processor
// and one event at a time is limited to one.
func TestProcessUsesOneProcessorBelowOne(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(processors)
	const several = 3
	for _, test := range []struct {
		size, events string
		want         int
	}{
		{"", "", several}, // not in Lambda
		{"128", "", 1},
		{"1768", "1", 1},
		{"1769", "", several},
		{"10240", "", several},
		{"256", "16", several},
	} {
		runtime.GOMAXPROCS(several)
		tuneProcess(getenv(map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": test.size, "AWS_LAMBDA_MAX_CONCURRENCY": test.events}))
		if got := runtime.GOMAXPROCS(0); got != test.want {
			t.Errorf("%s MB, %q events: got %d processors, want %d", test.size, test.events, got, test.want)
		}
	}
}

// TestStartHasMemory proves that the process has the memory of the first objects, and not only its
// addresses, and that it is free. The heap of a test that ran before may have it already, so that the
// test is a process of its own.
func TestStartHasMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	if os.Getenv("START_HAS_MEMORY") == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStartHasMemory$")
		child.Env = append(os.Environ(), "START_HAS_MEMORY=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const most = firstRoom * 9 / 10
	before := resident(t)
	tuneProcess(getenv(map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}))
	if grown := resident(t) - before; grown < most {
		t.Errorf("the process has %d bytes more, want %d", grown, firstRoom)
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	if free := heap.HeapIdle - heap.HeapReleased; free < most {
		t.Errorf("%d bytes of the heap are free, want %d", free, firstRoom)
	}
}

// resident returns the memory of the process that is in use, in bytes. /proc/self/statm is not exact.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	_, after, _ := strings.Cut(string(text), "\nRss:")
	var size int
	if err == nil {
		_, err = fmt.Sscan(after, &size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return size << 10
}

// TestWarmOpensConnection proves that the first read of a secret needs no new connection, and
// that none is read ahead.
func TestWarmOpensConnection(t *testing.T) {
	clearAWS(t)
	var reads, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") != "" {
			reads.Add(1)
		}
		if r.Method == http.MethodGet && r.Header.Get("Authorization") != "" {
			t.Error("the request that opens the connection is signed")
		}
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "ResourceNotFoundException"})
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	a, err := New(Config{Getenv: getenv(nil), Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	a.Warm(t.Context())
	if reads.Load() != 0 || connections.Load() != 1 {
		t.Errorf("got %d reads and %d connections at the start, want 0 and 1", reads.Load(), connections.Load())
	}
	_, _ = a.Vendor.Vend(t.Context(), tokentest.Read(token.Request{Client: "billing"}))
	if reads.Load() != 1 || connections.Load() != 1 {
		t.Errorf("got %d reads and %d connections after the first request, want 1 and 1", reads.Load(), connections.Load())
	}
}
