package fleet

import (
	"context"
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"time"
)

const (
	// sizeBits is the length of a census. Linear counting (Whang, Vander-Zanden, Taylor:
	// "A Linear-Time Probabilistic Counting Algorithm for Database Applications", 1990)
	// with so many bits errs by 5 % for 1000 environments.
	sizeBits = 512
	// sizeWindow is how long a census lasts. The last two count, because an environment
	// says once in each that it is there.
	sizeWindow = 10 * time.Minute
	// sizeRetry is how soon an environment reads the census again after it changed, or could not
	// be read, doubling to half a window.
	sizeRetry = 5 * time.Second
)

// size is how many environments use the table, as far as this one knows. It is safe for
// concurrent use.
type size struct {
	bit int // of this environment in a census

	mu       sync.Mutex
	next     time.Time     // when to read it again; guarded by mu
	interval time.Duration // guarded by mu
	last     int           // guarded by mu
	read     time.Time     // when it was read; guarded by mu
}

// Size returns how many environments used the table in the last 10 to 20 minutes, give or take
// a tenth, as this one last read there; 0: it never did. current is false if that may have
// changed since: it was read once only, when many may have started together, or long ago.
func (f *Fleet) Size() (n int, current bool) {
	if f == nil {
		return 0, false
	}
	z := &f.size
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.last, z.interval > sizeRetry && f.now().Sub(z.read).Abs() <= sizeWindow
}

// due reports whether the environment has to take part, and schedules the next attempt.
func (z *size) due(now time.Time) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if now.Before(z.next) && z.next.Sub(now) <= sizeWindow {
		return false
	}
	z.next = now.Add(sizeRetry)
	return true
}

// join counts this environment if it has not done so lately. Other environments that do so at
// the same time are waited for as long as patience allows. It returns whether the environment
// was counted now.
func (s *Session) join(ctx context.Context, patience time.Duration) bool {
	if !s.f.size.due(s.f.now()) {
		return false
	}
	var c census
	change := changer{s: s, kind: sizeRow, name: s.name(sizeRow, ""), purpose: loading, patience: patience}
	change.change = func(note []byte) []byte {
		c = readCensus(note)
		if !c.count(s.f.now().UnixMilli()/sizeWindow.Milliseconds(), s.f.size.bit) {
			return note
		}
		return c.encode()
	}
	_, ok := change.run(ctx, nil)
	if ok {
		s.f.size.note(c.size(), s.f.now(), s.jitter)
	}
	return ok
}

// note keeps a reading. A fleet that grows is read often.
func (z *size) note(n int, now time.Time, jitter func(time.Duration) time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.interval *= 2; z.interval == 0 || 10*n > 11*z.last {
		z.interval = sizeRetry
	}
	z.interval = min(z.interval, sizeWindow/2)
	z.last, z.read, z.next = n, now, now.Add(jitter(z.interval))
}

// census is the content of the row that counts environments.
type census struct {
	// window is when the present one began, in windows since 1970.
	window        int64
	present, last [sizeBits / 8]byte
}

// readCensus reads the note of the row. One of another length counts as none.
func readCensus(note []byte) (c census) {
	if len(note) == 8+sizeBits/4 {
		c.window = int64(binary.BigEndian.Uint64(note)) // #nosec G115 -- as encode wrote it
		copy(c.present[:], note[8:])
		copy(c.last[:], note[8+sizeBits/8:])
	}
	return c
}

func (c *census) encode() []byte {
	note := binary.BigEndian.AppendUint64(nil, uint64(c.window)) // #nosec G115 -- as readCensus reads it
	return append(append(note, c.present[:]...), c.last[:]...)
}

// count adds a bit to the census of a window. It returns false if that changes nothing.
func (c *census) count(window int64, bit int) bool {
	if c.window == window+1 {
		window++ // of a clock that is ahead
	}
	switch c.window {
	case window:
		if c.present[bit/8]&(1<<(bit%8)) != 0 {
			return false
		}
	case window - 1:
		*c = census{window: window, last: c.present}
	default:
		*c = census{window: window}
	}
	c.present[bit/8] |= 1 << (bit % 8)
	return true
}

// size returns how many environments took part in the last two windows.
func (c *census) size() int {
	zeros := sizeBits
	for i, b := range c.present {
		zeros -= bits.OnesCount8(b | c.last[i])
	}
	return int(math.Round(sizeBits * math.Log(sizeBits/math.Max(1, float64(zeros)))))
}
