package app

import (
	"errors"
	"io"
	"slices"
	"time"
)

const (
	// writePatience is how long one line may take: a pipe that nobody reads must
	// not hold an answer back until the platform ends the function. With that of the
	// metrics' lines it is less than the margin that an answer has.
	writePatience = 250 * time.Millisecond
	// stuckPatience is the same while an earlier line has not got through yet.
	stuckPatience = 20 * time.Millisecond
)

var errOutput = errors.New("the log does not take lines")

// output is the process's standard output, which several write whole lines to. It
// never blocks for long, and after half a line the next one begins on its own. It is
// safe for concurrent use.
type output struct {
	to io.Writer
	// turn holds one element while a line is under way; it guards broken.
	turn chan struct{}
	// broken: the last line got through in part.
	broken bool
	// stuck holds one element while a line takes longer than its patience.
	stuck chan struct{}
}

func newOutput(to io.Writer) *output {
	return &output{to: to, turn: make(chan struct{}, 1), stuck: make(chan struct{}, 1)}
}

// Write writes one line. An error means that it may be missing; it is not written
// later than its turn in any case.
func (o *output) Write(line []byte) (int, error) {
	patience := writePatience
	if len(o.stuck) > 0 {
		patience = stuckPatience
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o.turn <- struct{}{}:
	case <-timer.C:
		return 0, errOutput
	}
	// A copy: whoever called may use its bytes again when this has returned.
	done := make(chan error, 1)
	go o.write(slices.Clone(line), done)
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return len(line), nil
	case <-timer.C:
		select {
		case o.stuck <- struct{}{}:
		default:
		}
		return 0, errOutput
	}
}

// write is the one goroutine that outlives its caller: nothing can end a write to a
// pipe that is full. It ends when somebody reads.
func (o *output) write(line []byte, done chan<- error) {
	if o.broken {
		line = slices.Insert(line, 0, '\n')
	}
	n, err := o.to.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	o.broken = n < len(line) && (n > 0 || o.broken)
	select {
	case <-o.stuck:
	default:
	}
	done <- err
	<-o.turn
}
