package app

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"tokenvendor/shared/nowait"
)

const (
	// writeTimeout limits the write of one line. If the log's pipe is full because its
	// reader has stopped, a response must not wait until Lambda ends the function. The write
	// of an audit line and that of the metrics together stay within the margin of a response.
	writeTimeout = 250 * time.Millisecond
	// stuckTimeout replaces it while the write of an earlier line is overdue.
	stuckTimeout = 20 * time.Millisecond
)

var errOutput = errors.New("the log does not take lines")

// output writes whole lines to the standard output of the process. A write returns in time
// even if the pipe is full. If a line was written in part, the next one begins after a line
// break. It is safe for concurrent use.
type output struct {
	to io.Writer
	// pipe is nil unless to is a pipe.
	pipe *nowait.Pipe
	// writes has the writes that have ended.
	writes sync.Pool
	// writing has one element during a write; it guards broken.
	writing chan struct{}
	// broken means that the last line was written in part.
	broken bool
	// stuck has one element while a write takes longer than its timeout.
	stuck chan struct{}
}

// write is one call of Write.
type write struct {
	line  []byte
	timer *time.Timer
	// done has the result of the write.
	done chan error
}

func newOutput(to io.Writer) *output {
	return &output{to: to, pipe: nowait.NewPipe(to), writing: make(chan struct{}, 1), stuck: make(chan struct{}, 1)}
}

// begin returns a write whose timer runs.
func (o *output) begin(timeout time.Duration) *write {
	if w, ok := o.writes.Get().(*write); ok {
		w.timer.Reset(timeout)
		return w
	}
	return &write{timer: time.NewTimer(timeout), done: make(chan error, 1)}
}

// Write writes one line. After an error, the line may be missing. Only a line whose write has
// begun can still be written after Write returned.
func (o *output) Write(line []byte) (int, error) {
	select {
	case o.writing <- struct{}{}:
		// Nearly all lines are short enough.
		if len(line) <= nowait.PipeBuf && !o.broken && o.pipe.Takes() {
			err := o.write(o.pipe, line)
			<-o.writing
			return written(line, err)
		}
		<-o.writing
	default:
	}
	return o.writeInTime(line)
}

// written returns the results of Write for a line.
func written(line []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(line), nil
}

// writeInTime is Write for a line that may have to wait.
func (o *output) writeInTime(line []byte) (int, error) {
	timeout := writeTimeout
	if len(o.stuck) > 0 {
		timeout = stuckTimeout
	}
	w := o.begin(timeout)
	select {
	case o.writing <- struct{}{}:
	case <-w.timer.C:
		o.writes.Put(w)
		return 0, errOutput
	}
	// The caller may reuse line when Write has returned, so put gets a copy.
	w.line = append(w.line[:0], line...)
	go o.put(w)
	select {
	case err := <-w.done:
		w.timer.Stop()
		o.writes.Put(w)
		return written(line, err)
	case <-w.timer.C: // w is put's until the pipe is read
		select {
		case o.stuck <- struct{}{}:
		default:
		}
		return 0, errOutput
	}
}

// put can outlive an invocation, because a write to a full pipe cannot be cancelled. It ends when
// the pipe is read.
func (o *output) put(w *write) {
	err := o.write(o.to, w.line)
	<-o.writing
	w.done <- err
}

// write writes a line. The caller must have put an element into writing.
func (o *output) write(to io.Writer, line []byte) error {
	if o.broken {
		line = slices.Insert(line, 0, '\n')
	}
	n, err := to.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	o.broken = n < len(line) && (n > 0 || o.broken)
	select {
	case <-o.stuck:
	default:
	}
	return err
}
