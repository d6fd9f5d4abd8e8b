package dynamodb

import (
	"math/big"
	"strconv"
	"strings"
)

// The range of numbers (HowItWorks.NamingRulesDataTypes.html): 38 digits, 1E-130
// to 9.99…E+125.
const (
	maxDigits   = 38
	maxExponent = 125
	minExponent = -130
)

// number is an exact decimal, digits × 10^exponent. Digits don't end in a zero,
// so that equal numbers are equally written; zero has exponent 0.
type number struct {
	digits   *big.Int
	exponent int
}

// parseNumber reads a number; ok is false if it is none, or out of range.
func parseNumber(text string) (n number, failure *apiError) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil || e > 1e6 || e < -1e6 {
			return number{}, notANumber()
		}
		mantissa, exponent = text[:i], e
	}
	whole, fraction, _ := strings.Cut(strings.TrimLeft(mantissa, "+-"), ".")
	// What big.Int reads beyond digits, such as underscores, is not a number here.
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" || len(mantissa)-len(strings.TrimLeft(mantissa, "+-")) > 1 {
		return number{}, notANumber()
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return number{digits: new(big.Int)}, nil
	}
	kept := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(kept) - len(fraction)
	if failure := inRange(len(kept), exponent); failure != nil {
		return number{}, failure
	}
	n.digits, _ = new(big.Int).SetString(kept, 10)
	if mantissa[0] == '-' {
		n.digits.Neg(n.digits)
	}
	n.exponent = exponent
	return n, nil
}

func notANumber() *apiError {
	return invalid("The parameter cannot be converted to a numeric value")
}

// inRange looks at a number of that many digits other than zeros at its ends.
func inRange(digits, exponent int) *apiError {
	switch magnitude := exponent + digits - 1; {
	case digits > maxDigits:
		return invalid("Attempting to store more than 38 significant digits in a Number")
	case magnitude > maxExponent:
		return invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	case magnitude < minExponent:
		return invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return nil
}

// aligned returns both numbers' digits at one exponent.
func aligned(a, b number) (x, y *big.Int, exponent int) {
	exponent = min(a.exponent, b.exponent)
	return a.at(exponent), b.at(exponent), exponent
}

func (n number) at(exponent int) *big.Int {
	shift := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n.exponent-exponent)), nil)
	return shift.Mul(shift, n.digits)
}

func (n number) compare(other number) int {
	x, y, _ := aligned(n, other)
	return x.Cmp(y)
}

// add returns n + other, or n - other.
func (n number) add(other number, minus bool) (number, *apiError) {
	x, y, exponent := aligned(n, other)
	if minus {
		y.Neg(y)
	}
	return parseNumber(x.Add(x, y).String() + "e" + strconv.Itoa(exponent))
}

// String writes the number as DynamoDB does, without an exponent.
func (n number) String() string {
	text := new(big.Int).Abs(n.digits).String()
	switch {
	case n.digits.Sign() == 0:
		return "0"
	case n.exponent >= 0:
		text += strings.Repeat("0", n.exponent)
	case len(text) > -n.exponent:
		text = text[:len(text)+n.exponent] + "." + text[len(text)+n.exponent:]
	default:
		text = "0." + strings.Repeat("0", -n.exponent-len(text)) + text
	}
	if n.digits.Sign() < 0 {
		return "-" + text
	}
	return text
}
