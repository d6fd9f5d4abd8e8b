// Package jobs wires what only the batch function needs: queues, the event bus, and the
// secrets that tokens are delivered to. It is separate from app, so that the token function
// does not contain the AWS clients for them.
package jobs

import (
	"context"
	"errors"

	"tokenvendor/shared/app"
	"tokenvendor/shared/awsapi"
	"tokenvendor/shared/awsapi/messaging"
)

// Jobs has what the batch function needs in addition to an [app.App]. It is safe for
// concurrent use.
type Jobs struct {
	// Bus is the event bus on which tokens are announced.
	Bus *messaging.Bus
	// DeadLetters is the queue for messages that can never succeed; nil: they stay in the
	// queue that they come from.
	DeadLetters *messaging.Queue
	// Targets are the secrets that tokens are delivered to.
	Targets *awsapi.Targets
	// Clients returns the names of all clients, and of secrets that lie beside theirs.
	Clients func(ctx context.Context) ([]string, error)
}

// New returns the Jobs for the environment of a. The error contains all problems. Each names
// its variable but not the value.
func New(a *app.App) (*Jobs, error) {
	env := a.Environment
	var problems []error
	if env.CacheTable == "" {
		// Tokens that the batch function fetches are returned by the token function.
		problems = append(problems, errors.New("CACHE_TABLE must be set for the batch function"))
	}
	if env.EventBus == "" {
		problems = append(problems, errors.New("EVENT_BUS_NAME must be set for the batch function"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	j := &Jobs{Bus: messaging.NewBus(a.AWS, env.EventBus), Targets: awsapi.NewTargets(a.AWS)}
	secrets := awsapi.NewSecrets(a.AWS)
	j.Clients = func(ctx context.Context) ([]string, error) { return secrets.List(ctx, env.ClientSecretPrefix) }
	if env.DeadLetterQueue != "" {
		j.DeadLetters = messaging.NewQueue(a.AWS, env.DeadLetterQueue)
	}
	return j, nil
}
