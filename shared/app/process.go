package app

import (
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
	// usualPercent is that percentage afterwards, unless GOGC sets one. Go's own 100 needs 5 %
	// more memory and saves no time that can be measured.
	usualPercent = 60
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
	if getenv("GOGC") == "" {
		percent = usualPercent
	}
	var events atomic.Int64
	return func() {
		if events.Add(1) == 2 {
			debug.SetGCPercent(percent)
		}
	}
}
