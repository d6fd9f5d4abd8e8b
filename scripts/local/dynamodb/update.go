package dynamodb

import (
	"maps"
	"slices"
)

// update is what an UpdateExpression does to an item. Its zero value changes
// nothing.
type update struct {
	set    []assignment // of SET and ADD
	remove []string
}

// assignment gives an attribute a value that may depend on the item.
type assignment struct {
	path  string
	value term
}

// term is the right side of an assignment.
type term func(Item) (Value, *apiError)

// paths are the attributes that an update names, whether it changes them or not.
func (u update) paths() []string {
	paths := slices.Clone(u.remove)
	for _, a := range u.set {
		paths = append(paths, a.path)
	}
	return paths
}

// apply returns a changed copy of an item. All terms see the item as it was.
func (u update) apply(old Item) (Item, *apiError) {
	item := maps.Clone(old)
	for _, a := range u.set {
		v, failure := a.value(old)
		if failure != nil {
			return nil, failure
		}
		item[a.path] = v
	}
	for _, path := range u.remove {
		delete(item, path)
	}
	return item, nil
}

// update reads a whole UpdateExpression (Expressions.UpdateExpressions.html).
func (p *parser) update() (u update) {
	var seen []string
	for p.failure == nil && p.peek().kind != end {
		clause := p.clause()
		if slices.Contains(seen, clause) {
			p.fail(`The "` + clause + `" section can only be used once in an update expression;`)
		}
		seen = append(seen, clause)
		for {
			path := p.path()
			if slices.Contains(u.paths(), path) {
				p.overlap(path)
			}
			switch clause {
			case "SET":
				p.want("=")
				u.set = append(u.set, assignment{path, p.sum()})
			case "ADD":
				u.set = append(u.set, assignment{path, p.added(path)})
			case "REMOVE":
				u.remove = append(u.remove, path)
			}
			if !p.take(",") {
				break
			}
		}
	}
	return u
}

func (p *parser) clause() string {
	for _, word := range []string{"SET", "REMOVE", "ADD"} {
		if p.keyword(word) {
			return word
		}
	}
	if p.keyword("DELETE") {
		p.fail("this endpoint has no DELETE, which takes elements from sets")
	}
	p.unexpected(p.peek())
	return ""
}

// sum reads an operand, or two with + or - between them.
func (p *parser) sum() term {
	left := p.term()
	operator := p.peek().text
	if !p.take("+") && !p.take("-") {
		return left.value
	}
	right := p.term()
	for _, side := range []sideOf{left, right} {
		if side.kind != "" && side.kind != "N" {
			p.badType(operator, side.kind)
		}
	}
	return func(i Item) (Value, *apiError) {
		a, failure := left.value(i)
		if failure != nil {
			return Value{}, failure
		}
		b, failure := right.value(i)
		if failure != nil {
			return Value{}, failure
		}
		return add(a, b, operator == "-")
	}
}

// sideOf is one operand of a sum; kind is its type, empty where only the item can
// tell.
type sideOf struct {
	value term
	kind  string
}

func (p *parser) term() sideOf {
	switch {
	case p.peek().kind == literal:
		v := p.literal()
		return sideOf{func(Item) (Value, *apiError) { return v, nil }, v.Type}
	case p.calls():
		return sideOf{value: p.ifNotExists()}
	}
	path := p.path()
	return sideOf{value: func(i Item) (Value, *apiError) {
		v, ok := i[path]
		if !ok {
			return Value{}, invalid("The provided expression refers to an attribute that does not exist in the item")
		}
		return v, nil
	}}
}

func (p *parser) ifNotExists() term {
	switch name := p.next().text; name {
	case "if_not_exists":
	case "list_append":
		p.fail("this endpoint has no list_append")
	default:
		p.notHere(name)
	}
	p.want("(")
	path := p.pathOf("if_not_exists")
	p.want(",")
	other := p.term().value
	p.want(")")
	return func(i Item) (Value, *apiError) {
		if v, ok := i[path]; ok {
			return v, nil
		}
		return other(i)
	}
}

// added reads the operand of ADD: the attribute counts from zero.
func (p *parser) added(path string) term {
	v := p.literal()
	switch v.Type {
	case "N":
	case "SS", "NS", "BS":
		p.fail("this endpoint's ADD adds numbers alone")
	default:
		p.badType("ADD", v.Type)
	}
	return func(i Item) (Value, *apiError) {
		old, ok := i[path]
		if !ok {
			return v, nil
		}
		return add(old, v, false)
	}
}

func add(a, b Value, minus bool) (Value, *apiError) {
	if a.Type != "N" || b.Type != "N" {
		return Value{}, invalid("An operand in the update expression has an incorrect data type")
	}
	x, failure := parseNumber(a.Text)
	if failure != nil {
		return Value{}, failure
	}
	y, failure := parseNumber(b.Text)
	if failure != nil {
		return Value{}, failure
	}
	sum, failure := x.add(y, minus)
	if failure != nil {
		return Value{}, failure
	}
	return Number(sum.String()), nil
}
