package dynamodb

import (
	"regexp"
	"strings"

	"tokenvendor/scripts/local/awsjson"
)

// parser parses update and condition expressions. Names and values must be placeholders: the
// vendor uses no others, because DynamoDB reserves many words.
//
// Source: Expressions.OperatorsAndFunctions.html and Expressions.UpdateExpressions.html in the
// developer guide.
type parser struct {
	names  map[string]string
	values Item
	used   map[string]bool

	expression string   // the name of the expression, for errors
	tokens     []string // the tokens that are not read yet
	failure    *awsjson.Error
}

// condition reports whether an expression is true for an item. Nil: there is no item.
type condition func(Item) bool

// update is an update expression.
type update struct {
	set    map[string]Value
	remove []string
}

func (u update) touches(name string) bool {
	_, ok := u.set[name]
	for _, removed := range u.remove {
		ok = ok || removed == name
	}
	return ok
}

func (u update) apply(item Item) {
	for name, v := range u.set {
		item[name] = v
	}
	for _, name := range u.remove {
		delete(item, name)
	}
}

// start begins an expression.
func (p *parser) start(expression, text string) {
	token := regexp.MustCompile(`[#:]?[A-Za-z0-9_]+|<=|>=|<>|[=<>(),]|\S`)
	p.expression, p.tokens = expression, token.FindAllString(text, -1)
}

// fail keeps the first error.
func (p *parser) fail(problem string) {
	if p.failure == nil {
		p.failure = invalid("Invalid " + p.expression + ": " + problem)
	}
}

// next returns the next token. Empty: there is none.
func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	token := p.tokens[0]
	p.tokens = p.tokens[1:]
	return token
}

// accept skips the next token if it is the keyword or sign want.
func (p *parser) accept(want string) bool {
	if len(p.tokens) == 0 || !strings.EqualFold(p.tokens[0], want) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(want string) {
	if !p.accept(want) {
		p.fail("Syntax error; token: " + strings.Join(p.tokens, " "))
	}
}

// name reads the placeholder of a name.
func (p *parser) name() string {
	token := p.next()
	name, ok := p.names[token]
	if !ok || name == "" {
		p.fail("An expression attribute name used in the document path is not defined; attribute name: " + token)
	}
	p.used[token] = true
	return name
}

// value reads the placeholder of a value.
func (p *parser) value() Value {
	token := p.next()
	v, ok := p.values[token]
	if !ok {
		p.fail("An expression attribute value used in expression is not defined; attribute value: " + token)
	}
	p.used[token] = true
	return v
}

// update reads SET and REMOVE clauses.
func (p *parser) update(text string) (update, *awsjson.Error) {
	u := update{set: make(map[string]Value)}
	p.start("UpdateExpression", text)
	for p.failure == nil && (len(p.tokens) > 0 || len(u.set)+len(u.remove) == 0) {
		set := p.accept("SET")
		if !set && !p.accept("REMOVE") {
			p.fail("only the clauses SET and REMOVE are supported; token: " + p.next())
		}
		for more := true; more && p.failure == nil; more = p.accept(",") {
			name := p.name()
			if u.touches(name) {
				p.fail("Two document paths overlap with each other")
			}
			if !set {
				u.remove = append(u.remove, name)
				continue
			}
			p.expect("=")
			u.set[name] = p.value()
		}
	}
	return u, p.failure
}

// condition reads an expression of terms, AND and OR. The condition of an empty text is true.
func (p *parser) condition(text string) (condition, *awsjson.Error) {
	if text == "" {
		return func(Item) bool { return true }, nil
	}
	p.start("ConditionExpression", text)
	alternatives := []condition{p.conjunction()}
	for p.failure == nil && p.accept("OR") {
		alternatives = append(alternatives, p.conjunction())
	}
	if len(p.tokens) > 0 {
		p.fail("Syntax error; token: " + strings.Join(p.tokens, " "))
	}
	return func(i Item) bool {
		for _, c := range alternatives {
			if c(i) {
				return true
			}
		}
		return false
	}, p.failure
}

// conjunction reads terms that are joined by AND, which has precedence over OR.
func (p *parser) conjunction() condition {
	terms := []condition{p.term()}
	for p.failure == nil && p.accept("AND") {
		terms = append(terms, p.term())
	}
	return func(i Item) bool {
		for _, c := range terms {
			if !c(i) {
				return false
			}
		}
		return true
	}
}

// term reads a function or a comparison.
func (p *parser) term() condition {
	exists := p.accept("attribute_exists")
	if exists || p.accept("attribute_not_exists") {
		p.expect("(")
		name := p.name()
		p.expect(")")
		return func(i Item) bool {
			_, ok := i[name]
			return ok == exists
		}
	}
	name, operator := p.name(), p.next()
	v := p.value()
	isTrue := map[string]func(order int) bool{
		"=": func(o int) bool { return o == 0 }, "<=": func(o int) bool { return o <= 0 }, ">=": func(o int) bool { return o >= 0 },
	}[operator]
	if isTrue == nil {
		p.fail("only the operators =, <= and >= are supported; token: " + operator)
	}
	return func(i Item) bool {
		present, ok := i[name]
		if !ok {
			return false
		}
		order, comparable := present.compare(v)
		return comparable && isTrue(order)
	}
}

// unused returns an error if no expression uses one of the placeholders.
func (p *parser) unused() *awsjson.Error {
	for name := range p.names {
		if !p.used[name] {
			return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {" + name + "}")
		}
	}
	for name := range p.values {
		if !p.used[name] {
			return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {" + name + "}")
		}
	}
	return nil
}
