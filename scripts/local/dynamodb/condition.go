package dynamodb

import (
	"slices"
	"strconv"
	"strings"
)

// condition is what a ConditionExpression or a FilterExpression asks of an item;
// nil is an item without attributes. A nil condition asks for nothing.
type condition func(Item) bool

// condition reads a whole expression
// (Expressions.OperatorsAndFunctions.html#Expressions.OperatorsAndFunctions.Syntax).
func (p *parser) condition() condition {
	left := p.conjunction()
	for p.keyword("OR") {
		first, second := left, p.conjunction()
		left = func(i Item) bool { return first(i) || second(i) }
	}
	return left
}

func (p *parser) conjunction() condition {
	left := p.negation()
	for p.keyword("AND") {
		first, second := left, p.negation()
		left = func(i Item) bool { return first(i) && second(i) }
	}
	return left
}

func (p *parser) negation() condition {
	if p.keyword("NOT") {
		inner := p.negation()
		return func(i Item) bool { return !inner(i) }
	}
	return p.primary()
}

func (p *parser) primary() condition {
	switch {
	case p.take("("):
		return p.brackets()
	case p.calls() && p.peek().text != "size":
		return p.test()
	}
	return p.comparison()
}

// brackets reads what follows an opening one. DynamoDB refuses two pairs around
// the same condition.
func (p *parser) brackets() condition {
	opened := len(p.tokens)
	inner := p.condition()
	if p.failure == nil && p.opened == opened-1 && p.closed == len(p.tokens) {
		p.fail("The expression has redundant parentheses;")
	}
	p.want(")")
	p.opened, p.closed = opened, len(p.tokens)
	return inner
}

// calls reports whether a function comes next.
func (p *parser) calls() bool {
	return len(p.tokens) > 1 && p.tokens[0].kind == plain && p.tokens[1] == token{symbol, "("}
}

// operand is one side of a comparison: a path, a literal or a size.
type operand struct {
	path    string // empty: a literal
	size    bool
	literal Value
}

func (o operand) get(i Item) (v Value, ok bool) {
	if o.path == "" {
		return o.literal, true
	}
	if v, ok = i[o.path]; !ok || !o.size {
		return v, ok
	}
	n, ok := v.length()
	return Number(strconv.Itoa(n)), ok
}

func (o operand) equals(other operand) bool {
	return o.path != "" && o.path == other.path && o.size == other.size
}

func (p *parser) operand() operand {
	switch {
	case p.peek().kind == literal:
		return operand{literal: p.literal()}
	case p.calls():
		name := p.next().text
		if name != "size" {
			p.notHere(name)
		}
		p.want("(")
		o := operand{path: p.pathOf(name), size: true}
		p.want(")")
		return o
	}
	return operand{path: p.path()}
}

// notHere is the failure of a function where it can't be.
func (p *parser) notHere(name string) {
	switch name {
	case "size", "attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains", "if_not_exists", "list_append":
		p.fail("The function is not allowed to be used this way in an expression; function: " + name)
	default:
		p.fail("Invalid function name; function: " + name)
	}
}

// pathOf reads the argument of a function that must be a path.
func (p *parser) pathOf(function string) string {
	if p.peek().kind == literal {
		p.fail("Operator or function requires a document path; operator or function: " + function)
	}
	return p.path()
}

func (p *parser) comparison() condition {
	left := p.operand()
	switch t := p.next(); {
	case t.kind == plain && strings.EqualFold(t.text, "BETWEEN"):
		return p.between(left)
	case t.kind == plain && strings.EqualFold(t.text, "IN"):
		return p.in(left)
	case t.kind == symbol && slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text):
		right := p.operand()
		if left.equals(right) {
			p.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: " + t.text + ", first operand: [" + left.path + "]")
		}
		if t.text != "=" && t.text != "<>" {
			p.wantOrdered(t.text, left, right)
		}
		return func(i Item) bool { return compare(i, left, t.text, right) }
	default:
		p.unexpected(t)
		return nil
	}
}

// wantOrdered refuses literals whose type has no order.
func (p *parser) wantOrdered(operator string, operands ...operand) {
	for _, o := range operands {
		if o.path == "" && !ordered(o.literal.Type) {
			p.badType(operator, o.literal.Type)
		}
	}
}

// compare: an attribute that isn't there, or is of another type, equals nothing
// and is neither less nor greater.
func compare(i Item, left operand, operator string, right operand) bool {
	a, hasLeft := left.get(i)
	b, hasRight := right.get(i)
	same := hasLeft && hasRight && a.equals(b)
	switch operator {
	case "=":
		return same
	case "<>":
		return !same
	}
	order, ok := a.compare(b)
	if !hasLeft || !hasRight || !ok {
		return false
	}
	switch operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

func (p *parser) between(o operand) condition {
	low := p.operand()
	if !p.keyword("AND") {
		p.unexpected(p.peek())
	}
	high := p.operand()
	p.wantOrdered("BETWEEN", o, low, high)
	if low.path == "" && high.path == "" && p.failure == nil {
		if order, ok := low.literal.compare(high.literal); !ok {
			p.fail("The BETWEEN operator requires same data type for lower and upper bounds")
		} else if order > 0 {
			p.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
		}
	}
	return func(i Item) bool { return compare(i, o, ">=", low) && compare(i, o, "<=", high) }
}

// maxIn is how many operands IN may have.
const maxIn = 100

func (p *parser) in(o operand) condition {
	p.want("(")
	list := []operand{p.operand()}
	for p.take(",") {
		list = append(list, p.operand())
	}
	p.want(")")
	if len(list) > maxIn {
		p.fail("The IN operator is provided with too many operands; number of operands: " + strconv.Itoa(len(list)))
	}
	return func(i Item) bool {
		return slices.ContainsFunc(list, func(other operand) bool { return compare(i, o, "=", other) })
	}
}

// test reads a function that is a condition by itself.
func (p *parser) test() condition {
	name := p.next().text
	p.want("(")
	var c condition
	switch name {
	case "attribute_exists", "attribute_not_exists":
		path, want := p.pathOf(name), name == "attribute_exists"
		c = func(i Item) bool { _, ok := i[path]; return ok == want }
	case "attribute_type":
		c = p.attributeType()
	case "begins_with", "contains":
		c = p.part(name)
	default:
		p.notHere(name)
	}
	if t := p.peek(); t == (token{symbol, ","}) || t == (token{symbol, ")"}) && c == nil {
		p.fail("Incorrect number of operands for operator or function; operator or function: " + name)
	}
	p.want(")")
	return c
}

// second reads the comma and the last argument of a function of two.
func (p *parser) second(function string) operand {
	if !p.take(",") {
		p.fail("Incorrect number of operands for operator or function; operator or function: " + function + ", number of operands: 1")
	}
	return p.operand()
}

func (p *parser) attributeType() condition {
	path := p.pathOf("attribute_type")
	kind := p.second("attribute_type")
	switch {
	case kind.path != "" || kind.literal.Type != "S":
		p.badType("attribute_type", kind.literal.Type)
	case !slices.Contains([]string{"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"}, kind.literal.Text):
		p.fail("Invalid attribute type name found; type: " + kind.literal.Text)
	}
	return func(i Item) bool { return i[path].Type == kind.literal.Text }
}

// part reads begins_with or contains.
func (p *parser) part(name string) condition {
	whole := operand{path: p.pathOf(name)}
	part := p.second(name)
	if whole.equals(part) {
		p.fail("The first operand must be distinct from the remaining operands for this operator or function; operator: " + name + ", first operand: [" + whole.path + "]")
	}
	holds := contains
	if name == "begins_with" {
		holds = beginsWith
		if kind := part.literal.Type; part.path == "" && kind != "S" && kind != "B" {
			p.badType(name, kind)
		}
	}
	return func(i Item) bool {
		a, hasWhole := whole.get(i)
		b, hasPart := part.get(i)
		return hasWhole && hasPart && holds(a, b)
	}
}

func beginsWith(whole, part Value) bool {
	return whole.Type == part.Type && (part.Type == "S" || part.Type == "B") && strings.HasPrefix(whole.Text, part.Text)
}

func contains(whole, part Value) bool {
	switch whole.Type {
	case "S", "B":
		return whole.Type == part.Type && strings.Contains(whole.Text, part.Text)
	case "SS", "NS", "BS":
		return slices.ContainsFunc(whole.Set, func(element string) bool {
			return Value{Type: whole.Type[:1], Text: element}.equals(part)
		})
	case "L":
		return slices.ContainsFunc(whole.List, part.equals)
	}
	return false
}
