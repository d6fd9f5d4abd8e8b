package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// showCommands prints commands that work without changes.
func (s *stack) showCommands(out io.Writer) {
	developer, job := s.principals[0], s.principals[1]
	curl := func(user, rest string) string {
		return fmt.Sprintf("curl -sS --aws-sigv4 aws:amz:%s:execute-api --user %s -X POST %s", region, user, rest)
	}
	fmt.Fprintf(out, `
Get a token with a signed request:
  %s

The same with scope and resource in the body:
  %s -d scope=read -d resource=urn:sap:identity:application:provider:name:erp

As a role that may use the client %s and no other (another name is answered with 403):
  %s

Invoke the function directly, as a job in the account does:
  AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x aws lambda invoke --region %s --endpoint-url %s --function-name %s --payload %s /dev/stdout

Add a client; the next request gets its token:
  AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x aws secretsmanager create-secret --region %s --endpoint-url %s --name %s%s --secret-string %s
  %s

Read the table that the functions' processes share; its values are sealed:
  AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x aws dynamodb scan --region %s --endpoint-url %s --table-name %s

%s
Secrets Manager %s   DynamoDB %s   KMS %s
authorization server %s   CA %s

Press Ctrl-C to stop.
`,
		curl(developer.AccessKeyID+":"+developer.SecretAccessKey, s.apiURL+firstClient),
		curl(developer.AccessKeyID+":"+developer.SecretAccessKey, s.apiURL+firstClient),
		firstClient,
		curl(job.AccessKeyID+":"+job.SecretAccessKey, "-H x-amz-security-token:"+job.SessionToken+" "+s.apiURL+firstClient),
		region, s.function.URL(), functionName, quote("fileb://"+s.directPath()),
		region, s.secretsURL, prefix, spareClient, quote("file://"+s.sparePath()),
		curl(developer.AccessKeyID+":"+developer.SecretAccessKey, s.apiURL+spareClient),
		region, s.tableURL, cacheTable,
		s.jobCommands(curl(developer.AccessKeyID+":"+developer.SecretAccessKey, s.apiURL+firstClient)),
		s.secretsURL, s.tableURL, s.keysURL,
		s.issuer.Issuer(), s.caFile)
}

// jobCommands returns commands that order tokens for jobs and redeem a claim.
func (s *stack) jobCommands(curl string) string {
	j := s.jobs
	aws := "AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x aws --region " + region + " "
	queue := j.queueURL + "/" + account + "/"
	target := "token-vendor/tokens/" + firstClient
	return "Order a token for a job by a queue or by an event, or have it delivered into a secret by a schedule (every 20 seconds):\n" +
		"  " + aws + "sqs send-message --endpoint-url " + j.queueURL + " --queue-url " + queue + ordersQueue + ` --message-body '{"client": "` + firstClient + `", "min_ttl": 600}'` + "\n" +
		"  " + aws + "events put-events --endpoint-url " + j.busURL + ` --entries 'EventBusName=` + jobsBus + `,Source=my.jobs,DetailType=TokenRequested,Detail="{\"client\":\"` + firstClient + `\"}"'` + "\n" +
		"  " + aws + "secretsmanager create-secret --endpoint-url " + s.secretsURL + " --name " + target + "\n" +
		"  " + aws + "scheduler create-schedule --endpoint-url " + j.scheduleURL + ` --name tokens --schedule-expression 'rate(20 seconds)' --flexible-time-window Mode=OFF ` +
		`--target '{"Arn":"arn:aws:lambda:` + region + ":" + account + ":function:" + batchName + ":" + scheduleAlias + `","RoleArn":"arn:aws:iam::` + account + `:role/scheduler",` +
		`"Input":"{\"schedule\":[{\"client\":\"` + firstClient + `\",\"deliver_to\":\"` + target + `\"}]}"}'` + "\n" +
		"Read the announcements, the orders that failed with their reasons, and the delivered token:\n" +
		"  " + aws + "sqs receive-message --endpoint-url " + j.queueURL + " --queue-url " + queue + readyQueue + " --wait-time-seconds 5 --visibility-timeout 0\n" +
		"  " + aws + "sqs receive-message --endpoint-url " + j.queueURL + " --queue-url " + queue + deadQueue + " --message-attribute-names All\n" +
		"  " + aws + "secretsmanager get-secret-value --endpoint-url " + s.secretsURL + " --secret-id " + target + "\n" +
		"Redeem the claim of an announcement, as the job does:\n" +
		"  " + curl + ` -d "claim=$(` + aws + "sqs receive-message --endpoint-url " + j.queueURL + " --queue-url " + queue + readyQueue +
		` --wait-time-seconds 5 --query 'Messages[0].Body' --output text | sed 's/.*"claim":"\([^"]*\)".*/\1/')"` + "\n"
}

// description is the file of -json. Its secrets are valid for this run of the stack only.
type description struct {
	Region             string                 `json:"region"`
	Account            string                 `json:"account"`
	TokenURL           string                 `json:"token_url"` // append a client's name
	AWSURL             string                 `json:"aws_url"`   // all services of AWS, for AWS_ENDPOINT_URL
	Log                string                 `json:"log"`       // the functions' log and the access log, a JSON object a line
	PolicyMode         string                 `json:"policy_mode"`
	PolicySecret       string                 `json:"policy_secret"`
	LambdaURL          string                 `json:"lambda_url"`
	FunctionName       string                 `json:"function_name"`
	SecretsManagerURL  string                 `json:"secrets_manager_url"`
	ClientSecretPrefix string                 `json:"client_secret_prefix"`
	DynamoDBURL        string                 `json:"dynamodb_url"`
	CacheTable         string                 `json:"cache_table"`
	KMSURL             string                 `json:"kms_url"`
	BatchName          string                 `json:"batch_function_name"`
	BatchURL           string                 `json:"batch_lambda_url"`
	SQSURL             string                 `json:"sqs_url"`
	OrdersURL          string                 `json:"orders_queue_url"`
	ReadyURL           string                 `json:"ready_queue_url"`
	DeadLettersURL     string                 `json:"dead_letter_queue_url"`
	EventBridgeURL     string                 `json:"eventbridge_url"`
	EventBus           string                 `json:"event_bus"`
	SchedulerURL       string                 `json:"scheduler_url"`
	CacheKey           string                 `json:"cache_kms_key_id"`
	FaultsURL          string                 `json:"faults_url"` // PUT NAME below it begins a fault, DELETE NAME ends it
	Issuer             string                 `json:"issuer"`
	TokenEndpoint      string                 `json:"token_endpoint"`
	CAFile             string                 `json:"ca_file"`
	Principals         []principalDescription `json:"principals"`
	Clients            []clientDescription    `json:"clients"`
	// Spare is registered at the authorization server and has no secret in Secrets Manager.
	Spare spareDescription `json:"spare"`
}

type principalDescription struct {
	ARN             string   `json:"arn"`
	AccessKeyID     string   `json:"access_key_id"`
	SecretAccessKey string   `json:"secret_access_key"`
	SessionToken    string   `json:"session_token,omitempty"`
	Allow           []string `json:"allow"`
}

type clientDescription struct {
	Name   string `json:"name"`
	Method string `json:"method"`
	Format string `json:"format"`
}

type spareDescription struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	DocumentFile string `json:"document_file"`
}

func (s *stack) describePrincipals() (all []principalDescription) {
	for _, p := range s.principals {
		all = append(all, principalDescription{p.ARN, p.AccessKeyID, p.SecretAccessKey, p.SessionToken, p.Allow})
	}
	return all
}

func (s *stack) writeJSON(file string) error {
	d := description{
		Region: region, Account: account, TokenURL: s.apiURL, AWSURL: s.awsURL, Log: s.log.path, PolicyMode: s.policyMode, PolicySecret: policyName, LambdaURL: s.function.URL(), FunctionName: functionName,
		SecretsManagerURL: s.secretsURL, ClientSecretPrefix: prefix,
		DynamoDBURL: s.tableURL, CacheTable: cacheTable, KMSURL: s.keysURL, CacheKey: "alias/" + cacheKey,
		BatchName: batchName, BatchURL: s.jobs.batch.URL(), SQSURL: s.jobs.queueURL, OrdersURL: s.jobs.queueURL + "/" + account + "/" + ordersQueue,
		ReadyURL: s.jobs.queueURL + "/" + account + "/" + readyQueue, DeadLettersURL: s.deadURL(),
		EventBridgeURL: s.jobs.busURL, EventBus: jobsBus, SchedulerURL: s.jobs.scheduleURL,
		FaultsURL: s.faultsURL, Issuer: s.issuer.Issuer(), TokenEndpoint: s.issuer.TokenEndpoint(), CAFile: s.caFile,
		Spare:      spareDescription{ClientID: spareID, ClientSecret: spareSecret, DocumentFile: s.sparePath()},
		Principals: s.describePrincipals(),
	}
	for _, c := range s.clients {
		d.Clients = append(d.Clients, clientDescription{c.name, c.method, c.format})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(file, append(text, '\n'))
}

// writeWhole writes a file for this user alone. Programs wait for the file, so it must be
// complete when it appears.
func writeWhole(file string, text []byte) error {
	part := file + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// quote quotes a text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// writeEnv writes the variables that the commands of the READMEs use, as lines that a shell
// reads.
func (s *stack) writeEnv(file string) error {
	developer := s.principals[0]
	text := "# Variables of the local stack in " + s.dir.Path() + ", valid while it runs.\n"
	for _, v := range [...][2]string{
		{"AWS_REGION", region}, {"AWS_DEFAULT_REGION", region}, {"AWS_PAGER", ""},
		{"AWS_ACCESS_KEY_ID", developer.AccessKeyID}, {"AWS_SECRET_ACCESS_KEY", developer.SecretAccessKey}, {"AWS_SESSION_TOKEN", ""},
		{"AWS_ENDPOINT_URL", s.awsURL},
		{"TOKEN_URL", strings.TrimSuffix(s.apiURL, "/")},
		{"ORDERS_URL", s.awsURL + "/" + account + "/" + ordersQueue},
		// A document for a client that is not set up yet, and a key to store it with.
		{"DOCUMENT", s.sparePath()}, {"SECRETS_KEY", "alias/token-vendor-secrets"},
	} {
		text += "export " + v[0] + "=" + quote(v[1]) + "\n"
	}
	return writeWhole(file, []byte(text))
}
