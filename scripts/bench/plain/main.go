// Command plain is what the token function's cold start is compared with: a Lambda
// function as a good Go programmer writes it in an afternoon, with the AWS SDK and
// golang.org/x/oauth2. It keeps the token source.
package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

type document struct {
	TokenEndpoint string `json:"token_endpoint"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	client := secretsmanager.NewFromConfig(cfg)
	source := sync.OnceValues(func() (oauth2.TokenSource, error) {
		out, err := client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(os.Getenv("SECRET_ID"))})
		if err != nil {
			return nil, err
		}
		var d document
		if err := json.Unmarshal([]byte(*out.SecretString), &d); err != nil {
			return nil, err
		}
		c := clientcredentials.Config{ClientID: d.ClientID, ClientSecret: d.ClientSecret, TokenURL: d.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams}
		return c.TokenSource(context.Background()), nil
	})
	lambda.Start(func(context.Context, events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		tokens, err := source()
		if err != nil {
			return events.APIGatewayProxyResponse{StatusCode: 502}, nil
		}
		token, err := tokens.Token()
		if err != nil {
			return events.APIGatewayProxyResponse{StatusCode: 502}, nil
		}
		body, err := json.Marshal(token)
		return events.APIGatewayProxyResponse{StatusCode: 200, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(body)}, err
	})
}
