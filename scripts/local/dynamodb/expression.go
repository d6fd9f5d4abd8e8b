package dynamodb

import (
	"maps"
	"slices"
	"strings"
)

// placeholders are the members of an input that its expressions refer to.
type placeholders struct {
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]Value
}

// scope resolves placeholders and remembers which were used: what is given must
// be used.
type scope struct {
	names      map[string]string
	values     map[string]Value
	usedNames  map[string]bool
	usedValues map[string]bool
}

// scope checks the placeholders for that many expressions. Projections, which use
// names alone, may not have values.
func (in placeholders) scope(expressions int) (*scope, *apiError) {
	names, values := in.ExpressionAttributeNames, in.ExpressionAttributeValues
	switch {
	case names != nil && expressions == 0:
		return nil, invalid("ExpressionAttributeNames can only be specified when using expressions")
	case values != nil && expressions == 0:
		return nil, invalid("ExpressionAttributeValues can only be specified when using expressions")
	case names != nil && len(names) == 0:
		return nil, invalid("ExpressionAttributeNames must not be empty")
	case values != nil && len(values) == 0:
		return nil, invalid("ExpressionAttributeValues must not be empty")
	}
	for key := range names {
		if len(key) < 2 || key[0] != '#' || wordLength(key[1:]) != len(key)-1 {
			return nil, invalid(`ExpressionAttributeNames contains invalid key: Syntax error; key: "` + key + `"`)
		}
	}
	normal := make(map[string]Value)
	for key, v := range values {
		if len(key) < 2 || key[0] != ':' || wordLength(key[1:]) != len(key)-1 {
			return nil, invalid(`ExpressionAttributeValues contains invalid key: Syntax error; key: "` + key + `"`)
		}
		n, failure := v.normal(1)
		if failure != nil {
			return nil, invalid("ExpressionAttributeValues contains invalid value: " + failure.Message + " for key " + key)
		}
		normal[key] = n
	}
	return &scope{names, normal, make(map[string]bool), make(map[string]bool)}, nil
}

// unused is the error of placeholders that no expression has used.
func (s *scope) unused() *apiError {
	for _, given := range []struct {
		member     string
		keys, used []string
	}{
		{"ExpressionAttributeNames", slices.Sorted(maps.Keys(s.names)), slices.Collect(maps.Keys(s.usedNames))},
		{"ExpressionAttributeValues", slices.Sorted(maps.Keys(s.values)), slices.Collect(maps.Keys(s.usedValues))},
	} {
		left := slices.DeleteFunc(given.keys, func(key string) bool { return slices.Contains(given.used, key) })
		if len(left) > 0 {
			return invalid("Value provided in " + given.member + " unused in expressions: keys: {" + strings.Join(left, ", ") + "}")
		}
	}
	return nil
}

// parser reads one expression. After a failure it is at the end, so that what
// reads on comes to an end too.
type parser struct {
	*scope
	member  string // such as ConditionExpression
	tokens  []token
	failure *apiError
	// opened and closed are how many tokens were left at the innermost brackets
	// that were closed last.
	opened, closed int
}

// expression returns a parser of text, which is what the input has as member.
func (s *scope) expression(member, text string) *parser {
	p := &parser{scope: s, member: member}
	tokens, bad := lex(text)
	switch {
	case strings.TrimSpace(text) == "":
		p.fail("The expression can not be empty;")
	case len(text) > maxExpression:
		p.fail("Expression size has exceeded the maximum allowed size;")
	case bad != "":
		p.fail(`Syntax error; token: "` + bad + `"`)
	default:
		p.tokens = tokens
	}
	return p
}

// fail keeps the first failure.
func (p *parser) fail(message string) {
	if p.failure == nil {
		p.failure = invalid("Invalid " + p.member + ": " + message)
	}
	p.tokens = nil
}

// finish fails if there is anything left.
func (p *parser) finish() *apiError {
	if p.failure == nil && len(p.tokens) > 0 {
		p.unexpected(p.tokens[0])
	}
	return p.failure
}

func (p *parser) unexpected(t token) {
	text := t.text
	if t.kind == end {
		text = "<EOF>"
	}
	p.fail(`Syntax error; token: "` + text + `"`)
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// take takes a symbol if it comes next.
func (p *parser) take(s string) bool {
	if t := p.peek(); t.kind != symbol || t.text != s {
		return false
	}
	p.next()
	return true
}

// keyword takes a keyword, in any case, if it comes next.
func (p *parser) keyword(word string) bool {
	if t := p.peek(); t.kind != plain || !strings.EqualFold(t.text, word) {
		return false
	}
	p.next()
	return true
}

// want takes a symbol that must come next.
func (p *parser) want(s string) {
	if !p.take(s) {
		p.unexpected(p.peek())
	}
}

// path reads the name of an attribute of the item itself.
func (p *parser) path() string {
	t := p.next()
	name := t.text
	switch t.kind {
	case plain:
		if isReserved(name) {
			p.fail("Attribute name is a reserved keyword; reserved keyword: " + name)
		}
	case placeholder:
		var ok bool
		if name, ok = p.names[t.text]; !ok {
			p.fail("An expression attribute name used in the document path is not defined; attribute name: " + t.text)
		}
		p.usedNames[t.text] = true
	default:
		p.unexpected(t)
	}
	if next := p.peek(); next.kind == symbol && (next.text == "." || next.text == "[") {
		p.fail("this endpoint has no paths into lists and maps; attribute: " + name)
	}
	return name
}

// literal reads a :value.
func (p *parser) literal() Value {
	t := p.next()
	if t.kind != literal {
		p.unexpected(t)
		return Value{}
	}
	v, ok := p.values[t.text]
	if !ok {
		p.fail("An expression attribute value used in expression is not defined; attribute value: " + t.text)
	}
	p.usedValues[t.text] = true
	return v
}

// badType is the failure of a :value that an operator or function can't have.
func (p *parser) badType(operator, kind string) {
	p.fail("Incorrect operand type for operator or function; operator or function: " + operator + ", operand type: " + kind)
}

// projection reads the names of a ProjectionExpression.
func (p *parser) projection() (names []string) {
	for {
		name := p.path()
		if slices.Contains(names, name) {
			p.overlap(name)
		}
		names = append(names, name)
		if !p.take(",") {
			return names
		}
	}
}

func (p *parser) overlap(name string) {
	p.fail("Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [" + name + "], path two: [" + name + "]")
}
