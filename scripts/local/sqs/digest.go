package sqs

import (
	"bytes"
	"crypto/md5" // #nosec G501 -- the digest that the SQS protocol uses
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

func md5Of(text []byte) string {
	sum := md5.Sum(text) // #nosec G401 -- as above
	return hex.EncodeToString(sum[:])
}

// attributesMD5 is the digest of message attributes, which an SDK compares with its own.
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
		field(name)
		field(attributes[name].DataType)
		b.WriteByte(1) // the value is a string
		field(attributes[name].StringValue)
	}
	return md5Of(b.Bytes())
}
