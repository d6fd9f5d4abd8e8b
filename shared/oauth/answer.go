package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"tokenvendor/shared/strictjson"
)

func answerLimits() strictjson.Limits { return strictjson.Limits{Depth: 32, Members: 1000} }

// readAnswer reads the JSON object of an answer, of which the caller uses the members of the
// given names. Another member is left out if it is ambiguous or not UTF-8: gateways that add what
// a directory says about a client repeat a name for each value, or write Latin-1.
func readAnswer(body []byte, used ...string) (map[string]json.RawMessage, error) {
	// RFC 8259 section 8.1 allows a reader to ignore a byte order mark.
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	members, err := strictjson.Object(body, answerLimits())
	if err == nil || errors.Is(err, strictjson.ErrLimit) {
		return members, err
	}
	members, seen, failed, count := make(map[string]json.RawMessage), make(map[string]bool), false, 0
	r := strictjson.NewReader(body)
	object := r.Next() == '{'
	r.Members(func(quoted []byte) {
		value := r.Value()
		if count++; count > answerLimits().Members {
			return
		}
		var name string
		_ = json.Unmarshal(quoted, &name) // it is a string
		alone := slices.Concat([]byte{'{'}, quoted, []byte{':'}, value, []byte{'}'})
		_, odd := strictjson.Object(alone, answerLimits())
		if odd == nil && !seen[name] {
			members[name] = value
		} else {
			delete(members, name)
			failed = failed || slices.Contains(used, name)
		}
		seen[name] = true
	})
	switch {
	case failed || !object || !r.Valid():
		return nil, err
	case count > answerLimits().Members:
		return nil, strictjson.ErrLimit
	}
	return members, nil
}

// problemOf says why readAnswer refuses an answer. It does not name a duplicate member, because
// servers are known to repeat what was sent.
func problemOf(err error, body []byte) string {
	if errors.Is(err, strictjson.ErrSyntax) {
		return strictjson.Problem(err, bytes.TrimPrefix(body, []byte(byteOrderMark)))
	}
	return "has a member twice, is nested too deeply or has too many members"
}
