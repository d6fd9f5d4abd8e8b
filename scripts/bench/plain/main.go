// Command plain is what the token function's cold start and misses are compared with: a
// Lambda function as a good Go programmer writes it in an afternoon, with the AWS SDK and
// golang.org/x/oauth2. It keeps the token source of each client, and all sources share the
// connections of net/http.
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

// vendor keeps a token source for each client. It is safe for concurrent use.
type vendor struct {
	secrets *secretsmanager.Client
	prefix  string

	mu      sync.Mutex
	sources map[string]oauth2.TokenSource // by client; guarded by mu
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	v := &vendor{secrets: secretsmanager.NewFromConfig(cfg), prefix: os.Getenv("SECRET_PREFIX"), sources: make(map[string]oauth2.TokenSource)}
	lambda.Start(v.handle)
}

func (v *vendor) handle(ctx context.Context, event events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
	source, err := v.source(ctx, event.PathParameters["client"])
	if err != nil {
		return events.APIGatewayProxyResponse{StatusCode: 502}, nil
	}
	token, err := source.Token()
	if err != nil {
		return events.APIGatewayProxyResponse{StatusCode: 502}, nil
	}
	body, err := json.Marshal(token)
	return events.APIGatewayProxyResponse{StatusCode: 200, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(body)}, err
}

func (v *vendor) source(ctx context.Context, client string) (oauth2.TokenSource, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if source := v.sources[client]; source != nil {
		return source, nil
	}
	out, err := v.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(v.prefix + client)})
	if err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal([]byte(*out.SecretString), &d); err != nil {
		return nil, err
	}
	c := clientcredentials.Config{ClientID: d.ClientID, ClientSecret: d.ClientSecret, TokenURL: d.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams}
	v.sources[client] = c.TokenSource(context.Background())
	return v.sources[client], nil
}
