package functions_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// page is a Markdown file of the repository.
type page struct {
	name  string // relative to the module's root, with slashes
	lines []string
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return page{name, strings.Split(string(text), "\n")}
}

// pages returns all Markdown files but those of modules that npm has installed.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".aws-sam", "dist", "node_modules"}, entry.Name()):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".md") && !entry.IsDir():
			all = append(all, readPage(t, strings.TrimPrefix(filepath.ToSlash(name), "../")))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// heading matches a heading of any level.
var heading = regexp.MustCompile(`^#{1,6} +(.+)$`)

// prose calls do for each line outside of code blocks.
func (p page) prose(do func(number int, line string)) {
	code := false
	for i, line := range p.lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			do(i+1, line)
		}
	}
}

// anchors returns the names that GitHub gives to the headings.
func (p page) anchors() []string {
	var all []string
	p.prose(func(_ int, line string) {
		if found := heading.FindStringSubmatch(line); found != nil {
			name, n := anchor(found[1]), 0
			for unique := name; ; unique = name + "-" + strconv.Itoa(n) {
				if !slices.Contains(all, unique) {
					all = append(all, unique)
					return
				}
				n++
			}
		}
	})
	return all
}

// anchor returns a heading in lower case, without punctuation and with hyphens for spaces.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// table returns the cells of the first table below a heading, without its first two lines.
func (p page) table(t *testing.T, title string) [][]string {
	t.Helper()
	var rows [][]string
	below, ended := false, false
	p.prose(func(_ int, line string) {
		found := heading.FindStringSubmatch(line)
		switch {
		case found != nil && below:
			ended = true
		case found != nil:
			below = found[1] == title
		case ended || !below:
		case strings.HasPrefix(line, "|"):
			rows = append(rows, cells(line))
		case len(rows) > 0:
			ended = true
		}
	})
	if len(rows) < 3 {
		t.Fatalf("%s has no table below the heading %q", p.name, title)
	}
	return rows[2:]
}

func cells(row string) []string {
	list := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// quoted returns the texts in a cell that are marked as code.
func quoted(cell string) []string {
	var all []string
	for i, text := range strings.Split(cell, "`") {
		if i%2 == 1 {
			all = append(all, text)
		}
	}
	return all
}

// column returns the texts marked as code in one column of a table.
func column(rows [][]string, i int) []string {
	var all []string
	for _, row := range rows {
		all = append(all, quoted(row[i])...)
	}
	return all
}

// link matches the target of a link.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	followed := 0
	for _, p := range all {
		p.prose(func(number int, line string) {
			for _, found := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
					continue
				}
				followed++
				if problem := follow(all, p, found[1]); problem != "" {
					t.Errorf("%s:%d: the link %s %s", p.name, number, found[1], problem)
				}
			}
		})
	}
	if len(all) < 8 || followed < 20 {
		t.Errorf("found %d pages and %d links, want at least 8 and 20", len(all), followed)
	}
}

// follow returns what is wrong with a relative link, or "".
func follow(all []page, from page, target string) string {
	file, fragment, hasFragment := strings.Cut(target, "#")
	name := from.name
	if file != "" {
		name = path.Join(path.Dir(from.name), file)
		if strings.HasPrefix(name, "../") || strings.HasPrefix(file, "/") {
			return "leaves the repository"
		}
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(name))); err != nil {
			return "leads to a file that does not exist"
		}
	}
	if !hasFragment {
		return ""
	}
	i := slices.IndexFunc(all, func(p page) bool { return p.name == name })
	if i < 0 {
		return "has an anchor in a file that is not Markdown"
	}
	if !slices.Contains(all[i].anchors(), fragment) {
		return "leads to no heading of " + name
	}
	return ""
}
