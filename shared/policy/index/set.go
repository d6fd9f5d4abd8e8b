package index

import "math/bits"

const (
	setBits  = 9
	wordBits = 64
	// Numbers in a [Set] are smaller than SetSize.
	SetSize = 1 << setBits
)

// Set is a set of numbers from 0 to SetSize-1. The zero Set is empty.
type Set [SetSize / wordBits]uint64

// Add adds n to s.
func (s *Set) Add(n int) { s[n/wordBits] |= 1 << (n % wordBits) }

// Intersect removes from s what is not in other.
func (s *Set) Intersect(other *Set) {
	for i := range s {
		s[i] &= other[i]
	}
}

// Within reports whether all of s is in other.
func (s *Set) Within(other *Set) bool {
	for i := range s {
		if s[i]&^other[i] != 0 {
			return false
		}
	}
	return true
}

// First returns the smallest number; ok is false if s is empty.
func (s *Set) First() (n int, ok bool) {
	for i, word := range s {
		if word != 0 {
			return i*wordBits + bits.TrailingZeros64(word), true
		}
	}
	return 0, false
}

// all calls yield with the numbers.
func (s Set) all(yield func(n int) bool) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			if !yield(i*wordBits + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// sparse is a Set that takes little memory for a few numbers.
type sparse []word

// word is a word of a Set that is not zero.
type word struct {
	at   int
	bits uint64
}

// with returns s with n, which must not be less than the numbers in s.
func (s sparse) with(n int) sparse {
	if len(s) == 0 || s[len(s)-1].at != n/wordBits {
		s = append(s, word{at: n / wordBits})
	}
	s[len(s)-1].bits |= 1 << (n % wordBits)
	return s
}

// addTo adds s to to.
func (s sparse) addTo(to *Set) {
	for _, w := range s {
		to[w.at] |= w.bits
	}
}
