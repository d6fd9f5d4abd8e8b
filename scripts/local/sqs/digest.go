package sqs

import (
	"bytes"
	"crypto/md5" // #nosec G501 -- SQS says with it what it has received
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

func md5Of(text []byte) string {
	sum := md5.Sum(text) // #nosec G401 -- as above
	return hex.EncodeToString(sum[:])
}

// attributesMD5 is what callers compare with their own.
//
// Source: "Calculating the MD5 message digest for message attributes" of the SQS
// Developer Guide.
func attributesMD5(attributes map[string]Attribute) string {
	if len(attributes) == 0 {
		return ""
	}
	var b bytes.Buffer
	field := func(text string) {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(text))) // #nosec G115 -- at most 1 MiB
		b.WriteString(text)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		field(name)
		field(a.DataType)
		if strings.HasPrefix(a.DataType, "Binary") {
			b.WriteByte(2)
			field(string(a.BinaryValue))
		} else {
			b.WriteByte(1)
			field(a.StringValue)
		}
	}
	return md5Of(b.Bytes())
}
