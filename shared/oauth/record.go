package oauth

import (
	"encoding/json"
	"errors"
	"time"
)

// tokenRecord is a token as another environment of ours reads it.
type tokenRecord struct {
	Access        string    `json:"access"`
	Members       string    `json:"members"`
	Scope         string    `json:"scope,omitempty"`
	Expiry        time.Time `json:"expiry,omitzero"`
	Issued        time.Time `json:"issued"`
	Bound         bool      `json:"bound,omitempty"`
	CorrelationID string    `json:"correlation,omitempty"`
}

// Record returns all of the token, for [ReadRecord] in another process. It is as
// secret as the token: the caller must seal it before it goes anywhere.
func (t *Token) Record() []byte {
	record, err := json.Marshal(tokenRecord{t.access.Expose(), t.members.Expose(), t.scope, t.expiry, t.issued, t.bound, t.correlationID})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return record
}

// ReadRecord reads what [Token.Record] wrote. The caller must have made sure of
// where it comes from; the error repeats nothing of it.
func ReadRecord(record []byte) (*Token, error) {
	var r tokenRecord
	if json.Unmarshal(record, &r) != nil || r.Access == "" || r.Members == "" || r.Issued.IsZero() {
		return nil, errors.New("not the record of a token")
	}
	return &Token{NewSecret(r.Access), NewSecret(r.Members), r.Scope, r.Expiry, r.Issued, r.Bound, r.CorrelationID}, nil
}
