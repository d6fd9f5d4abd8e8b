package apigateway

import (
	"encoding/json"
	"net/http"
)

// fault is a gateway response: an answer of the API itself. It contains no secret.
type fault struct {
	status  int
	kind    string // x-amzn-ErrorType
	member  string // of the body: "message", or "Message" where AWS writes that
	message string
}

func newFault(status int, kind, message string) *fault {
	return &fault{status: status, kind: kind, member: "message", message: message}
}

// missingToken is also AWS's answer where there is no route.
func missingToken() *fault {
	return newFault(http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
}

func incompleteSignature(message string) *fault {
	return newFault(http.StatusForbidden, "IncompleteSignatureException", message)
}

func invalidSignature(message string) *fault {
	return newFault(http.StatusForbidden, "InvalidSignatureException", message)
}

// signatureMismatch omits the canonical request that AWS adds, because it contains the
// session token.
func signatureMismatch() *fault {
	return invalidSignature("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func unknownToken() *fault {
	return newFault(http.StatusForbidden, "UnrecognizedClientException",
		"The security token included in the request is invalid.")
}

func forbidden() *fault {
	return newFault(http.StatusForbidden, "ForbiddenException", "Forbidden")
}

// accessDenied is the one fault for which AWS writes "Message".
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

// send writes an answer with the headers that all answers have.
func (c *call) send(status int, body []byte) {
	c.status, c.written = status, len(body)
	h := c.w.Header()
	h.Set("X-Amzn-Requestid", c.id)
	h.Set("X-Amz-Apigw-Id", c.longID)
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}
