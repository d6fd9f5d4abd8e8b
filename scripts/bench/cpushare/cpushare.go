// Package cpushare gives a process a share of one core, as Lambda does with a function of
// little memory: in each period of 20 ms its threads together run for share × 20 ms, and
// wait for the end of the period after that. Lambda uses the quota of a control group.
// Making one needs privileges, so this package stops the process with SIGSTOP and continues
// it with SIGCONT. What a period runs too long is taken from the periods after it; what it
// does not use is lost. The CPU time comes from the process's clock, which includes threads
// that are running and threads that have ended.
//
// Source: kernel.org/doc/Documentation/scheduler/sched-bwc.txt;
// docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: 1769 MB have one core.
package cpushare

import (
	"errors"
	"time"
)

// Period is the time after which a process has its quota again.
const Period = 20 * time.Millisecond

// ErrUnsupported is returned by all functions where the system is not Linux.
var ErrUnsupported = errors.New("the CPU time of another process is known on Linux only")

// OfMemory returns the share of one core of a function with so many MB.
func OfMemory(megabytes int) float64 { return float64(megabytes) / 1769 }
