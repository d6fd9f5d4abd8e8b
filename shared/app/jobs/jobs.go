// Package jobs wires what only the batch function needs: queues, the event bus, and the
// secrets that tokens are delivered to. It is not part of app so that the token
// function does not carry the AWS clients for them.
package jobs

import (
	"errors"

	"tokenvendor/shared/app"
	"tokenvendor/shared/awsapi"
	"tokenvendor/shared/awsapi/messaging"
)

// Jobs is what the batch function needs beside an [app.App]. It is safe for concurrent
// use.
type Jobs struct {
	// Bus is where tokens are announced.
	Bus *messaging.Bus
	// DeadLetters takes messages that can never be done; nil: they are left to the
	// queue they come from.
	DeadLetters *messaging.Queue
	// Targets are the secrets that tokens are delivered to.
	Targets *awsapi.Targets
}

// New returns the jobs of a. The error holds all problems, each naming its variable and
// never its value.
func New(a *app.App) (*Jobs, error) {
	env := a.Environment
	var problems []error
	if env.CacheTable == "" {
		// What is fetched ahead must be there for the function that hands it out.
		problems = append(problems, errors.New("CACHE_TABLE must be set for the batch function"))
	}
	if env.EventBus == "" {
		problems = append(problems, errors.New("EVENT_BUS_NAME must be set for the batch function"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	j := &Jobs{Bus: messaging.NewBus(a.AWS, env.EventBus), Targets: awsapi.NewTargets(a.AWS)}
	if env.DeadLetterQueue != "" {
		j.DeadLetters = messaging.NewQueue(a.AWS, env.DeadLetterQueue)
	}
	return j, nil
}
