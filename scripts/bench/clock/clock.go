// Package clock is a clock that a drill sets ahead while its processes are idle. To a
// function that looks like AWS Lambda: between two events the process may be frozen for
// minutes, in which the wall clock moves on and the timers of the process do not.
//
// The drill compiles the function with this clock in place of time.Now. It imports the
// standard library only.
package clock

import (
	"os"
	"time"
)

// Variable is the environment variable with the name of the clock's file. The size of the
// file in bytes is how many seconds the clock is ahead, because one call reads it and one
// call writes it.
const Variable = "BENCH_CLOCK"

// Now returns the time by the clock that Variable names. Without it the clock is not ahead.
func Now() time.Time { return File(os.Getenv(Variable)).Now() }

// File is the name of a clock's file. It is safe for concurrent use by many processes.
type File string

// Now returns the time. It has no monotonic reading.
func (f File) Now() time.Time {
	now := time.Now().Round(0)
	if info, err := os.Stat(string(f)); err == nil {
		now = now.Add(time.Duration(info.Size()) * time.Second)
	}
	return now
}

// Reset sets the clock to the time of this machine, and creates its file.
func (f File) Reset() error { return os.WriteFile(string(f), nil, 0o600) }

// Advance sets the clock ahead by d, in whole seconds. One caller at a time may call it.
func (f File) Advance(d time.Duration) error {
	info, err := os.Stat(string(f))
	if err != nil {
		return err
	}
	return os.Truncate(string(f), info.Size()+int64(d/time.Second))
}
