package fleet

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"
)

const (
	// sizeRegisters is the length of a census. A HyperLogLog sketch (Flajolet, Fusy, Gandouet,
	// Meunier: "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm",
	// 2007) with so many registers errs by 5 %, for one environment as for 100 000, and only few
	// environments of a large fleet have to write it.
	sizeRegisters = 512
	// maxRank is the greatest value of a register, which has four bits.
	maxRank = 15
	// sizeWindow is how long a census lasts. The last two count, because an environment
	// says once in each that it is there.
	sizeWindow = 10 * time.Minute
	// sizeRetry is how soon an environment reads the census again after it changed, or could not
	// be read, doubling to half a window.
	sizeRetry = 5 * time.Second
	// sizeSpread is the longest time after its start in which an environment only reads the
	// census: of many that start together, each would otherwise write the same row.
	sizeSpread = 10 * time.Second
)

// size is how many environments use the table, as far as this one knows. It is safe for
// concurrent use.
type size struct {
	// register and rank are what this environment adds to a census.
	register int
	rank     byte

	mu       sync.Mutex
	from     time.Time     // when it may be counted; zero: it never read the census; guarded by mu
	settled  time.Time     // when all that started together should be counted; guarded by mu
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

// choose chooses what this environment adds to a census: each rank is half as likely as the one
// before it.
func (z *size) choose(rand func() float64) {
	z.register = int(rand() * sizeRegisters)
	z.rank = byte(min(maxRank, 1+math.Floor(-math.Log2(1-rand()))))
}

// due reports whether the environment has to read the census, and schedules the next attempt.
// counted is false if it has started a moment ago.
func (z *size) due(now time.Time, rand func() float64) (due, counted bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if now.Before(z.next) && z.next.Sub(now) <= sizeWindow {
		return false, false
	}
	if z.from.IsZero() {
		z.from = now.Add(time.Duration(rand() * float64(sizeSpread)))
		z.settled = now.Add(sizeSpread + sizeRetry)
	}
	z.next = now.Add(sizeRetry)
	return true, !now.Before(z.from)
}

// join reads how many environments there are, and counts this one, if it has not done so lately.
// It returns whether it did.
func (s *Session) join(ctx context.Context) bool {
	due, counted := s.f.size.due(s.f.now(), s.f.rand)
	if !due {
		return false
	}
	var c census
	change := changer{s: s, kind: sizeRow, name: s.name(sizeRow, sizeID), purpose: counting}
	change.change = func(note []byte) []byte {
		c = readCensus(note)
		if !c.count(s.f.now().UnixMilli()/sizeWindow.Milliseconds(), s.f.size.register, s.f.size.rank) || !counted {
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

// note keeps a reading. A fleet that grows is read often, and so is one whose environments may not
// all be counted yet: each would take itself for the only one.
func (z *size) note(n int, now time.Time, jitter func(time.Duration) time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.interval *= 2; z.interval == 0 || 10*n > 11*z.last || now.Before(z.settled) {
		z.interval = sizeRetry
	}
	z.interval = min(z.interval, sizeWindow/2)
	z.last, z.read, z.next = n, now, now.Add(jitter(z.interval))
}

// sizeID names the row that counts environments. Another encoding of a census has another name,
// so that environments of two versions of this package do not replace each other's.
const sizeID = "registers"

// census is the content of the row that counts environments.
type census struct {
	// window is when the present one began, in windows since 1970.
	window        int64
	present, last registers
}

// registers are those of a sketch. A register has the greatest rank of its environments; 0: it
// has none.
type registers [sizeRegisters]byte

// readCensus reads the note of the row. One of another length counts as none.
func readCensus(note []byte) (c census) {
	if len(note) == 8+sizeRegisters {
		c.window = int64(binary.BigEndian.Uint64(note)) // #nosec G115 -- as encode wrote it
		c.present.read(note[8:])
		c.last.read(note[8+sizeRegisters/2:])
	}
	return c
}

func (c *census) encode() []byte {
	note := binary.BigEndian.AppendUint64(nil, uint64(c.window)) // #nosec G115 -- as readCensus reads it
	return c.last.append(c.present.append(note))
}

// read and append have two registers in one byte.
func (r *registers) read(text []byte) {
	for i := range r {
		r[i] = text[i/2] >> (i % 2 * 4) & maxRank
	}
}

func (r *registers) append(text []byte) []byte {
	for i := 0; i < len(r); i += 2 {
		text = append(text, r[i]|r[i+1]<<4)
	}
	return text
}

// count adds an environment to the census of a window. It returns false if that changes nothing.
func (c *census) count(window int64, register int, rank byte) bool {
	if c.window == window+1 {
		window++ // of a clock that is ahead
	}
	switch c.window {
	case window:
		if c.present[register] >= rank {
			return false
		}
	case window - 1:
		*c = census{window: window, last: c.present}
	default:
		*c = census{window: window}
	}
	c.present[register] = rank
	return true
}

// size returns how many environments took part in the last two windows, by the estimator of Ertl
// ("New cardinality estimation algorithms for HyperLogLog sketches", 2017), which needs no other
// formula for few environments. The share of environments with a greater rank than maxRank is
// nothing.
func (c *census) size() int {
	zeros, sum := 0, 0.0
	for i, rank := range c.present {
		if rank = max(rank, c.last[i]); rank == 0 {
			zeros++
			continue
		}
		sum += math.Ldexp(1, -int(rank))
	}
	return int(math.Round(sizeRegisters * sizeRegisters / (2 * math.Ln2) / (sizeRegisters*sigma(float64(zeros)/sizeRegisters) + sum)))
}

// sigma returns x + x² + 2x⁴ + 4x⁸ + …, which is infinite for 1.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	sum, factor := x, 1.0
	for {
		x *= x
		before := sum
		if sum += x * factor; sum == before {
			return sum
		}
		factor *= 2
	}
}
