package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenvendor/scripts/bench/chart"
)

func sample() chart.Chart {
	rows := []chart.Row{
		{Name: "token", Ratio: 0.5, Value: "69 µs", Subject: true},
		{Name: "con<stant & 1", Ratio: 1, Value: "138 µs"},
		{Name: "node", Ratio: 40, Value: "5 ms"},
	}
	return chart.Chart{Title: "A & B", Notes: []string{"one", "two"}, Panels: []chart.Panel{
		{Title: "hit", Detail: "limit 1", Limit: 1, Rows: rows}, {Title: "miss", Limit: 0.25, Rows: rows[:2]}, {Title: "third", Limit: 2, Rows: rows},
	}}
}

// element is an element of a picture.
type element struct {
	name, class, text string
	anchor            string
	attributes        map[string]float64 // those that are numbers
}

func draw(t *testing.T, c chart.Chart) []element {
	t.Helper()
	var picture bytes.Buffer
	if err := c.Write(&picture); err != nil {
		t.Fatal(err)
	}
	var all []element
	for decoder := xml.NewDecoder(&picture); ; {
		switch token, err := decoder.Token(); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		default:
			switch token := token.(type) {
			case xml.StartElement:
				e := element{name: token.Name.Local, attributes: make(map[string]float64)}
				for _, a := range token.Attr {
					switch a.Name.Local {
					case "class":
						e.class = strings.TrimSpace(a.Value)
					case "text-anchor":
						e.anchor = a.Value
					}
					if n, err := strconv.ParseFloat(a.Value, 64); err == nil {
						e.attributes[a.Name.Local] = n
					}
				}
				all = append(all, e)
			case xml.CharData:
				if len(all) > 0 {
					all[len(all)-1].text += string(token)
				}
			}
		}
	}
}

func TestTextIsEscapedAndComplete(t *testing.T) {
	var texts []string
	for _, e := range draw(t, sample()) {
		texts = append(texts, strings.TrimSpace(e.text))
	}
	all := "\n" + strings.Join(texts, "\n") + "\n"
	for _, want := range []string{"A & B", "one", "two", "hit", "miss", "third", "limit 1", "con<stant & 1", "0.50", "40.00", "69 µs", "5 ms"} {
		if !strings.Contains(all, "\n"+want+"\n") {
			t.Errorf("want the text %q in the picture; got %q", want, texts)
		}
	}
}

// Bars start at zero and are as long as their ratios say, up to a cut, and the line of the
// limit has the same scale.
func TestBarsAndLimitsHaveOneScale(t *testing.T) {
	var bars, limits []element
	cuts := 0
	for _, e := range draw(t, sample()) {
		switch {
		case strings.HasPrefix(e.class, "bar"):
			bars = append(bars, e)
		case e.class == "limit":
			limits = append(limits, e)
		case e.class == "cut":
			cuts++
		}
	}
	if len(bars) != 8 || len(limits) != 3 || cuts != 2 {
		t.Fatalf("got %d bars, %d limits and %d cuts, want 8, 3 and 2", len(bars), len(limits), cuts)
	}
	one := bars[1]
	near(t, "the subject's bar", bars[0].attributes["width"], one.attributes["width"]/2)
	near(t, "the limit", limits[0].attributes["x1"], one.attributes["x"]+one.attributes["width"])
	near(t, "the second limit", limits[1].attributes["x1"], bars[4].attributes["x"]+bars[4].attributes["width"]/4)
	if bars[2].attributes["width"] <= one.attributes["width"] {
		t.Error("the bar that is cut is not the longest")
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < want-0.2 || got > want+0.2 {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// extent returns the left and the right end of a text whose characters are 7 pixels wide.
func (e element) extent() (left, right float64) {
	x, width := e.attributes["x"], 7*float64(utf8.RuneCountInString(e.text))
	switch e.anchor {
	case "end":
		return x - width, x
	case "middle":
		return x - width/2, x + width/2
	}
	return x, x + width
}

func TestTextsNeitherOverlapNorLeaveThePicture(t *testing.T) {
	all := draw(t, sample())
	var texts []element
	for _, e := range all[1:] {
		if e.name != "text" {
			continue
		}
		left, right := e.extent()
		if left < 0 || right > all[0].attributes["width"] || e.attributes["y"] > all[0].attributes["height"] {
			t.Errorf("%q is not inside of the picture", e.text)
		}
		for _, other := range texts {
			otherLeft, otherRight := other.extent()
			if other.attributes["y"] == e.attributes["y"] && left < otherRight && otherLeft < right {
				t.Errorf("%q and %q overlap", e.text, other.text)
			}
		}
		texts = append(texts, e)
	}
}
