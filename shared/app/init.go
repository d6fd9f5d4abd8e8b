package app

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// initErrorPath is where a function tells Lambda that it cannot start (AWS
// Lambda Runtime API, "Initialization error").
const initErrorPath = "/2018-06-01/runtime/init/error"

// FailInit reports err, whose text must hold no secret, to the Lambda Runtime
// API, so that the operator reads why and not only that the process ended. The
// caller must then exit.
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
	// A transport of its own, without a proxy: the Runtime API is local.
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	if response, doErr := client.Do(request); doErr == nil {
		_ = response.Body.Close()
	}
}
