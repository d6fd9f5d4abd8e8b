package app

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// initErrorPath is the path of "Initialization error" in the AWS Lambda Runtime API.
const initErrorPath = "/2018-06-01/runtime/init/error"

// FailInit reports err to the Lambda Runtime API, so that an operator sees the reason and not
// only the exit of the process. The text of err must not contain a secret. The caller must
// exit afterwards. Outside of Lambda, FailInit does nothing.
func FailInit(getenv func(string) string, err error) {
	host := getenv("AWS_LAMBDA_RUNTIME_API")
	if host == "" {
		return
	}
	body, _ := json.Marshal(map[string]any{"errorType": "Runtime.InvalidEnvironment", "errorMessage": err.Error(), "stackTrace": []string{}})
	request, requestErr := http.NewRequest(http.MethodPost, "http://"+host+initErrorPath, bytes.NewReader(body))
	if requestErr != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Lambda-Runtime-Function-Error-Type", "Runtime.InvalidEnvironment")
	// This transport uses no proxy, because the Runtime API is local.
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	if response, doErr := client.Do(request); doErr == nil {
		_ = response.Body.Close()
	}
}
