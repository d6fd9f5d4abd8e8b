package main

import (
	"strconv"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// oauthHeaders are on every answer (RFC 6749 section 5.1).
const oauthHeaders = `"Content-Type":"application/json","Cache-Control":"no-store","Pragma":"no-cache"`

// answerGrant returns the proxy response for a token.
func answerGrant(grant token.Grant, now time.Time) []byte {
	body := grant.AppendJSON(make([]byte, 0, grant.Size()), now)
	const head = 256                                   // bytes, for what is not the body
	dst := make([]byte, 0, head+len(body)+len(body)/4) // the quotes of the body are escaped
	dst = append(dst, `{"statusCode":200,"headers":{`+oauthHeaders...)
	switch {
	case grant.CertificateBound && grant.OldCredential:
		dst = append(dst, `,"Token-Vendor-Warning":"certificate-bound, old-credential"`...)
	case grant.CertificateBound:
		dst = append(dst, `,"Token-Vendor-Warning":"certificate-bound"`...)
	case grant.OldCredential:
		dst = append(dst, `,"Token-Vendor-Warning":"old-credential"`...)
	}
	dst = append(dst, `},"isBase64Encoded":false,"body":`...)
	return append(strictjson.AppendString(dst, body), '}')
}

// appendFailure appends the proxy response for an error.
func appendFailure(dst []byte, e *fault.Error, requestID string) []byte {
	dst = append(dst, `{"statusCode":`...)
	dst = strconv.AppendInt(dst, int64(e.Kind.Status()), 10)
	dst = append(dst, `,"headers":{`+oauthHeaders...)
	if e.Kind == fault.WrongMethod {
		dst = append(dst, `,"Allow":"POST"`...)
	}
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		dst = append(dst, `,"Retry-After":"`+strconv.Itoa(int(seconds))+`"`...)
	}
	dst = append(dst, `},"isBase64Encoded":false,"body":`...)
	return append(strictjson.AppendString(dst, e.AppendJSON(nil, requestID)), '}')
}
