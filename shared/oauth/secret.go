package oauth

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a client secret, an access token or another text that must not be printed. It
// prints as "[redacted]" with every verb of fmt, in JSON and in slog. The zero value is the
// empty secret. A Secret may be copied and is safe for concurrent use.
type Secret struct {
	// fmt does not call methods on unexported fields of other structs. It would print a
	// string there, but it prints only the address of a pointer below the top level.
	text *string
}

// NewSecret returns a Secret with the given text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Expose returns the text. No other method does, so that all uses are easy to find.
func (s Secret) Expose() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Expose() == "" }

// Format implements [fmt.Formatter], for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler for map keys and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
