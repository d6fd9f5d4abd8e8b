package main

import (
	"crypto/rand"

	"tokenvendor/scripts/local/apigateway"
)

// demoPrincipals returns two callers: a user with access to all clients, and a session of a
// role with access to firstClient only.
func demoPrincipals() []apigateway.Principal {
	allowed := "arn:aws:execute-api:" + region + ":" + account + ":" + apiID + "/" + stage + "/POST/token/"
	return []apigateway.Principal{
		{
			AccessKeyID:     "AKIA" + rand.Text()[:16],
			SecretAccessKey: rand.Text(),
			ARN:             "arn:aws:iam::" + account + ":user/developer",
			Allow:           []string{allowed + "*"},
		},
		{
			AccessKeyID:     "ASIA" + rand.Text()[:16],
			SecretAccessKey: rand.Text(),
			SessionToken:    rand.Text(),
			ARN:             "arn:aws:sts::" + account + ":assumed-role/reporting-job/local",
			Allow:           []string{allowed + firstClient},
		},
	}
}
