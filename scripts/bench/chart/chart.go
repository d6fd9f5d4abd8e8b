// Package chart draws ratios as an SVG picture of bars that start at zero. The picture needs
// 800 pixels and follows the reader's light or dark colors.
package chart

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// Chart is a picture.
type Chart struct {
	Title string
	// Notes are the lines below the title: the machine, the date.
	Notes  []string
	Panels []Panel
}

// Panel is one set of bars.
type Panel struct {
	// Title is what was measured, and Detail what the ratios refer to.
	Title, Detail string
	// Limit is the most that the ratio of a subject should be.
	Limit float64
	Rows  []Row
}

// Row is one bar.
type Row struct {
	Name  string
	Ratio float64
	// Value is the figure itself with its unit.
	Value string
	// Subject means that the limit is about this row.
	Subject bool
}

// Sizes in pixels.
const (
	width       = 800
	margin      = 20
	panelWidth  = 370
	plotLeft    = 104 // from the panel's left edge
	plotWidth   = 150
	ratioRight  = 298 // the right edge of the ratios
	rowHeight   = 17
	barHeight   = 11
	panelHeader = 42
	panelFooter = 40
	noteHeight  = 17
	titleBottom = 36
)

const style = `
text { font: 12px -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 } .panel { font-size: 13px; font-weight: 600 }
.note, .tick { fill: #59636e } .tick { font-size: 10px } .subject { font-weight: 600 }
.back, .cut { fill: #ffffff } .grid { stroke: #d1d9e0 } .one { stroke: #59636e }
.bar { fill: #afb8c1 } .bar.subject { fill: #0969da } .limit { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 4 2 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .note, .tick { fill: #9198a1 } .back, .cut { fill: #0d1117 } .grid { stroke: #2f353d } .one { stroke: #9198a1 }
.bar { fill: #656c76 } .bar.subject { fill: #4493f8 } .limit { stroke: #f0883e }
}
`

// writer keeps the first error.
type writer struct {
	out io.Writer
	err error
}

func (w *writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

// text writes a text at its base line. anchor is start, middle or end.
func (w *writer) text(x, y float64, class, anchor, text string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a strings.Builder has no error
	w.printf(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, escaped.String())
}

func (w *writer) vertical(class string, x, top, bottom float64) {
	w.printf(`<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, x, x, top, bottom)
}

// Write writes the picture, two panels in a row.
func (c Chart) Write(out io.Writer) error {
	rowHeights := make([]float64, (len(c.Panels)+1)/2)
	for i, p := range c.Panels {
		rowHeights[i/2] = max(rowHeights[i/2], float64(panelHeader+rowHeight*len(p.Rows)+panelFooter))
	}
	top := float64(titleBottom + noteHeight*len(c.Notes) + margin)
	height := top
	for _, h := range rowHeights {
		height += h
	}
	w := &writer{out: out}
	w.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img">`, width, height, width, height)
	w.printf("<style>%s</style>\n"+`<rect class="back" width="%d" height="%.0f"/>`, style, width, height)
	w.text(margin, titleBottom-6, "title", "start", c.Title)
	for i, note := range c.Notes {
		w.text(margin, float64(titleBottom+noteHeight*i+14), "note", "start", note)
	}
	for i, p := range c.Panels {
		p.write(w, float64(margin+i%2*(panelWidth+margin)), top)
		if i%2 == 1 {
			top += rowHeights[i/2]
		}
	}
	w.printf("</svg>")
	return w.err
}

// most returns the end of the axis. It shows the limit, the reference and the subjects;
// a bar of another row that is longer than twice that is cut.
func (p Panel) most() float64 {
	most, longest := max(1, p.Limit), 0.0
	for _, r := range p.Rows {
		longest = max(longest, r.Ratio)
		if r.Subject {
			most = max(most, r.Ratio)
		}
	}
	return min(2*most, max(most, longest)) * 1.05
}

func (p Panel) write(w *writer, left, top float64) {
	most := p.most()
	at := func(ratio float64) float64 { return left + plotLeft + plotWidth*ratio/most }
	w.text(left, top+14, "panel", "start", p.Title)
	w.text(left, top+30, "note", "start", p.Detail)
	first, bottom := top+panelHeader, top+panelHeader+float64(rowHeight*len(p.Rows))
	step := tickStep(most)
	for tick := 0.0; tick <= most; tick += step {
		w.vertical("grid", at(tick), first, bottom+3)
		w.text(at(tick), bottom+14, "tick", "middle", fmt.Sprintf("%g", tick))
	}
	for i, r := range p.Rows {
		r.write(w, left, first+float64(i*rowHeight), at, most)
	}
	w.vertical("one", at(1), first, bottom+3)
	w.vertical("limit", at(p.Limit), first-3, bottom+3)
}

func (r Row) write(w *writer, left, top float64, at func(float64) float64, most float64) {
	class, base := "", top+rowHeight-5
	if r.Subject {
		class = "subject"
	}
	y := top + (rowHeight-barHeight)/2
	w.text(left+plotLeft-8, base, class, "end", r.Name)
	w.printf(`<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="%d"/>`, class, at(0), y, at(min(r.Ratio, most))-at(0), barHeight)
	if r.Ratio > most {
		x := at(most) - 14
		w.printf(`<path class="cut" d="M%.1f %.1fl4 -%dh4l-4 %dz"/>`, x, y+barHeight+1, barHeight+2, barHeight+2)
	}
	w.text(left+ratioRight, base, class, "end", fmt.Sprintf("%.2f", r.Ratio))
	w.text(left+panelWidth, base, class, "end", r.Value)
}

// tickStep returns a step of 1, 2 or 5 times a power of ten that divides the axis into five
// parts at most.
func tickStep(most float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, factor := range []float64{1, 2, 5} {
		if most/(factor*power) <= 5 {
			return factor * power
		}
	}
	return 10 * power
}
