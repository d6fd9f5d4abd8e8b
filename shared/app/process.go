package app

import (
	"os"
	"runtime"
	"strconv"
)

const (
	// wholeProcessor is the memory size in MB from which on a function has a whole processor.
	//
	// Source: docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	wholeProcessor = 1769
	// firstRoom is how much memory the start and the first requests allocate, in bytes. More
	// would only raise the peak.
	firstRoom = 1536 << 10
)

// tuneProcess sets the process up for the memory size of the function. Outside of Lambda, it
// changes nothing.
func tuneProcess(getenv func(string) string) {
	size, err := strconv.Atoi(getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil {
		return
	}
	// Lambda Managed Instances give a process several events at a time, and whole processors.
	if events, _ := strconv.Atoi(getenv("AWS_LAMBDA_MAX_CONCURRENCY")); size < wholeProcessor && events <= 1 {
		// With less than one processor, a second thread only takes time from the first.
		runtime.GOMAXPROCS(1)
	}
	touchHeap()
	// The collection gives the memory to the next objects. Without it, one would be due at an early
	// request, which has only a fraction of a processor. Now the next one is due after the start and
	// about fifteen new clients.
	runtime.GC()
}

// touchHeap makes the system provide firstRoom now, because otherwise it does so page by page,
// also while requests wait.
func touchHeap() {
	room := make([]byte, firstRoom)
	if populate(room) {
		return
	}
	for page := os.Getpagesize(); len(room) >= page; room = room[page:] {
		room[0] = 1
	}
}
