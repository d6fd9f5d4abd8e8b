package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
)

const (
	// wholeProcessor is the memory size in MB from which on a function has a whole processor.
	//
	// Source: docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	wholeProcessor = 1769
	// startPercent is the garbage collector's percentage during the start. What the start
	// leaves behind then needs no collection before the first answer.
	startPercent = 400
	// firstRoom is how much memory the start leaves to the requests after it, in bytes. With
	// less, a new client has a page fault in the median; more would only raise the peak.
	firstRoom = 1 << 20
)

// tuneProcess sets the process up for the memory size of the function. It returns a function for
// the beginning of each event. At the second one this ends what holds for the start only, which
// makes a collection due: the first answer, for which a caller has waited longest, is sent by then.
// Outside of Lambda, tuneProcess changes nothing.
func tuneProcess(getenv func(string) string) (begin func()) {
	size, err := strconv.Atoi(getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil {
		return func() {}
	}
	// Lambda Managed Instances give a process several events at a time, and whole processors.
	if events, _ := strconv.Atoi(getenv("AWS_LAMBDA_MAX_CONCURRENCY")); size < wholeProcessor && events <= 1 {
		// With less than one processor, a second thread only takes time from the first.
		runtime.GOMAXPROCS(1)
	}
	percent := debug.SetGCPercent(startPercent)
	var events atomic.Int64
	return func() {
		if events.Add(1) == 2 {
			debug.SetGCPercent(percent)
		}
	}
}

// touchHeap makes the system provide firstRoom now, because otherwise it does so page by page
// while requests wait. The first collection leaves the pages to other objects.
func touchHeap() {
	room := make([]byte, firstRoom)
	if populate(room) {
		return
	}
	for page := os.Getpagesize(); len(room) >= page; room = room[page:] {
		room[0] = 1
	}
}
