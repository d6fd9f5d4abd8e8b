// Package index finds the patterns that match a text among many. A pattern is a text in which
// each * matches any number of characters except separators. It matches whole texts only, and
// none that is empty. The package imports the standard library only.
package index

import (
	"slices"
	"sort"
	"strings"
)

// Index maps patterns to the numbers of those that use them, such as rules. A search takes time
// for the text and for the patterns that match it, and little for the others. The zero Index has
// no patterns. After [Index.Sort], it is safe for concurrent use.
type Index struct {
	// URI means that texts are URIs (RFC 8707 section 2), which more characters separate.
	URI bool
	// exact has the patterns without stars; until Sort, it has all.
	exact map[string]sparse
	// starred has the patterns with stars.
	starred node
}

// Add adds a pattern of n, which must not be less than the n of the calls before.
func (x *Index) Add(pattern string, n int) {
	if x.exact == nil {
		x.exact = make(map[string]sparse)
	}
	x.exact[pattern] = x.exact[pattern].with(n)
}

// Sort must be called once, between the last Add and the first Search.
func (x *Index) Sort() {
	var texts []string
	for text := range x.exact {
		if strings.Contains(text, "*") {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	starred := make([]entry, len(texts))
	for i, text := range texts {
		starred[i] = entry{text, x.exact[text]}
		delete(x.exact, text)
	}
	x.starred = newNode(starred, x.URI)
}

// Search adds to found the numbers of the patterns that match text. It does not allocate.
func (x *Index) Search(text string, found *Set) {
	if text == "" {
		return
	}
	x.exact[text].addTo(found)
	if len(x.starred.groups) > 0 && !(x.URI && hasParent(text)) {
		s := search{x.URI, found}
		s.node(&x.starred, text)
	}
}

// node is the root of a tree that has a level for each segment of the patterns. A segment
// ends with its separator. The last one has none, and may be empty.
type node struct {
	// numbers are those of the pattern that ends here; then there are no groups.
	numbers sparse
	// groups are the segments that follow, sorted by their heads.
	groups []group
}

// group has the segments with the same text before their first star.
type group struct {
	head string
	// parent is the group with the longest head that head begins with; -1: there is none.
	parent int
	// whole is the node behind the segment head, which has no star; nil: there is none.
	whole *node
	// segments have a star.
	segments []segment
	// starts is nil if there are few segments. Otherwise they are sorted by the rarest of their
	// pairs, see [pairsOf], and starts[p] is where those of pair p begin. Those without a pair
	// are the last ones.
	starts *[SetSize + 1]uint32
}

// segment is a segment of a pattern from its first star on, and the node behind it.
type segment struct {
	// stars is the part from the first star to the last, and tail what follows.
	stars, tail string
	next        *node
}

// fewSegments are tried one after the other in the time that finding the pairs of a text takes.
const fewSegments = 15

// entry is what remains of a pattern behind the segments above a node.
type entry struct {
	text    string
	numbers sparse
}

// newNode returns the tree of patterns, which are sorted and different.
func newNode(patterns []entry, uri bool) node {
	var n node
	for len(patterns) > 0 {
		size, last := segmentSize(patterns[0].text, uri)
		text, same := patterns[0].text[:size], 1
		if last {
			n.add(text, &node{numbers: patterns[0].numbers})
		} else {
			for same < len(patterns) && strings.HasPrefix(patterns[same].text, text) {
				same++
			}
			behind := make([]entry, same)
			for i, p := range patterns[:same] {
				behind[i] = entry{p.text[size:], p.numbers}
			}
			next := newNode(behind, uri)
			n.add(text, &next)
		}
		patterns = patterns[same:]
	}
	// Unlike slices.SortFunc, sort.Slice adds no code for the type, which would be 14 KB.
	sort.Slice(n.groups, func(i, j int) bool { return n.groups[i].head < n.groups[j].head })
	for i := range n.groups {
		g := &n.groups[i]
		for g.parent = i - 1; g.parent >= 0 && !strings.HasPrefix(g.head, n.groups[g.parent].head); {
			g.parent = n.groups[g.parent].parent
		}
		if len(g.segments) > fewSegments {
			g.sort()
		}
	}
	return n
}

// add adds a segment to its group. Segments with a star and the same head follow each other; one
// without a star may have a group of its own.
func (n *node) add(text string, next *node) {
	head, _, star := strings.Cut(text, "*")
	if len(n.groups) == 0 || n.groups[len(n.groups)-1].head != head {
		n.groups = append(n.groups, group{head: head})
	}
	if g := &n.groups[len(n.groups)-1]; star {
		last := strings.LastIndexByte(text, '*') + 1
		g.segments = append(g.segments, segment{text[len(head):last], text[last:], next})
	} else {
		g.whole = next
	}
}

// sort sorts the segments by their rarest pairs.
func (g *group) sort() {
	var counts [SetSize]int
	for _, s := range g.segments {
		for p := range pairsOf(g.head + s.stars + s.tail).all {
			counts[p]++
		}
	}
	byPair := make([][]segment, SetSize+1)
	for _, s := range g.segments {
		rarest := SetSize
		for p := range pairsOf(g.head + s.stars + s.tail).all {
			if rarest == SetSize || counts[p] < counts[rarest] {
				rarest = p
			}
		}
		byPair[rarest] = append(byPair[rarest], s)
	}
	g.segments, g.starts = g.segments[:0], new([SetSize + 1]uint32)
	for p, list := range byPair {
		g.starts[p] = uint32(len(g.segments))
		g.segments = append(g.segments, list...)
	}
}

// search is a search in an [Index].
type search struct {
	uri   bool
	found *Set
}

// node searches for what remains of a text.
func (s *search) node(n *node, text string) {
	size, last := segmentSize(text, s.uri)
	text, rest := text[:size], text[size:]
	// The longest head that text begins with is the last one that is not greater than text, or
	// one of the parents of that.
	at := sort.Search(len(n.groups), func(i int) bool { return n.groups[i].head > text }) - 1
	for ; at >= 0; at = n.groups[at].parent {
		g := &n.groups[at]
		behind, ok := strings.CutPrefix(text, g.head)
		if !ok {
			continue
		}
		if g.whole != nil && behind == "" {
			s.enter(g.whole, rest, last)
		}
		if g.starts == nil {
			s.segments(g.segments, behind, rest, last)
			continue
		}
		s.segments(g.segments[g.starts[SetSize]:], behind, rest, last)
		for p := range pairsOf(text).all {
			s.segments(g.segments[g.starts[p]:g.starts[p+1]], behind, rest, last)
		}
	}
}

// segments tries all of list with the text behind their head.
func (s *search) segments(list []segment, text, rest string, last bool) {
	for i := range list {
		g := &list[i]
		stars, ok := strings.CutSuffix(text, g.tail)
		// A star does not match the separator that ends text.
		if ok && last == (g.next.numbers != nil) && (g.stars == "*" || MatchSegment(g.stars, stars)) {
			s.enter(g.next, rest, last)
		}
	}
}

// enter continues behind a segment. last means that there is no further one.
func (s *search) enter(n *node, rest string, last bool) {
	if last {
		n.numbers.addTo(s.found)
	} else {
		s.node(n, rest)
	}
}
