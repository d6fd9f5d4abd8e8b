package apigateway

import (
	"encoding/json"
	"net/http"
)

// fault is a gateway response: an answer that the API gives instead of the
// function. It never holds anything secret.
type fault struct {
	status  int
	kind    string // x-amzn-ErrorType
	member  string // of the body; "message", except where AWS writes "Message"
	message string
}

func newFault(status int, kind, message string) *fault {
	return &fault{status: status, kind: kind, member: "message", message: message}
}

// missingToken is also what AWS says where there is no route.
func missingToken() *fault {
	return newFault(http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
}

func incompleteSignature(message string) *fault {
	return newFault(http.StatusForbidden, "IncompleteSignatureException", message)
}

func invalidSignature(message string) *fault {
	return newFault(http.StatusForbidden, "InvalidSignatureException", message)
}

// signatureMismatch leaves out what AWS adds, the canonical request: it holds the
// session token.
func signatureMismatch() *fault {
	return invalidSignature("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func unknownToken() *fault {
	return newFault(http.StatusForbidden, "UnrecognizedClientException",
		"The security token included in the request is invalid.")
}

func expiredToken() *fault {
	return newFault(http.StatusForbidden, "ExpiredTokenException",
		"The security token included in the request is expired")
}

func forbidden() *fault {
	return newFault(http.StatusForbidden, "ForbiddenException", "Forbidden")
}

// accessDenied writes "Message", as AWS does for this one.
func accessDenied(message string) *fault {
	return &fault{status: http.StatusForbidden, kind: "AccessDeniedException", member: "Message", message: message}
}

func badRequest() *fault {
	return newFault(http.StatusBadRequest, "BadRequestException", "Bad Request")
}

func tooLong() *fault {
	return newFault(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "Request Too Long")
}

func badGateway() *fault {
	return newFault(http.StatusBadGateway, "InternalServerErrorException", "Internal server error")
}

func timedOut() *fault {
	return newFault(http.StatusGatewayTimeout, "InternalServerErrorException", "Endpoint request timed out")
}

// refuse answers with f.
func (c *call) refuse(f *fault) {
	c.errorType = f.kind
	body, _ := json.Marshal(map[string]string{f.member: f.message})
	c.w.Header().Set("X-Amzn-Errortype", f.kind)
	c.w.Header().Set("Content-Type", "application/json")
	c.send(f.status, body)
}

// send adds the headers that every answer has and writes it.
func (c *call) send(status int, body []byte) {
	c.status, c.written = status, len(body)
	h := c.w.Header()
	h.Set("X-Amzn-Requestid", c.id)
	h.Set("X-Amz-Apigw-Id", c.longID)
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}
