package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/eventbridge"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/scheduler"
	"tokenvendor/scripts/local/sqs"
	"tokenvendor/shared/radar"
)

// Names of the batch function and of its sources and destinations.
const (
	batchName  = "token-vendor-batch"
	batchAlias = "jobs"
	// These aliases are for the queue, the bus and schedules only.
	queueAlias, busAlias, scheduleAlias = "queue", "bus", "schedule"
	ordersQueue                         = "token-vendor-orders"
	deadQueue                           = "token-vendor-dead-letters"
	// readyQueue gets the announcements on the bus, so that the AWS CLI can read them.
	readyQueue = "token-vendor-ready"
	// clockQueue gets the runs of schedules that could not be delivered.
	clockQueue = "token-vendor-clock-dead-letters"
	// credentialsQueue gets the events of the radar.
	credentialsQueue = "token-vendor-credentials"
	jobsBus          = "token-vendor-tokens"
	// maxReceives is the maxReceiveCount of the queue.
	maxReceives = 5
)

// jobs are the batch function and the services that invoke it.
type jobs struct {
	batch       *runtimeapi.Runtime
	queues      *sqs.Server
	queueURL    string
	bus         *eventbridge.Server
	busURL      string
	schedules   *scheduler.Server
	scheduleURL string
}

// startJobs starts the batch function and its sources, connected as in template.yaml.
// Lambda's waits before a retry are seconds here instead of minutes.
func (s *stack) startJobs(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	j := &s.jobs
	j.queues = sqs.New(sqs.Config{Region: region, Account: account})
	j.queues.AddQueue(deadQueue, sqs.Queue{})
	j.queues.AddQueue(readyQueue, sqs.Queue{})
	j.queues.AddQueue(credentialsQueue, sqs.Queue{})
	j.queues.AddQueue(clockQueue, sqs.Queue{})
	j.queues.AddQueue(ordersQueue, sqs.Queue{Visibility: 10 * time.Second, DeadLetter: deadQueue, MaxReceives: maxReceives})
	j.bus = eventbridge.New(eventbridge.Config{Region: region, Account: account})
	j.bus.AddBus(jobsBus)
	asynchronous := func(alias string, event []byte) {
		invoke := func(ctx context.Context, event []byte) (kind, message string) { return j.invoke(ctx, alias, event) }
		eventbridge.Async{Invoke: invoke, Wait: time.Second, Failed: j.deadLetter}.Run(ctx, event)
	}
	j.bus.AddRule(eventbridge.Rule{Bus: jobsBus, DetailType: "TokenRequested", NotSource: "token-vendor", Target: func(event []byte) { asynchronous(busAlias, event) }})
	j.bus.AddRule(eventbridge.Rule{Bus: jobsBus, DetailType: "TokenReady", Target: func(event []byte) { j.queues.Send(readyQueue, string(event), nil) }})
	for _, event := range radar.Types() {
		j.bus.AddRule(eventbridge.Rule{Bus: jobsBus, DetailType: event, Target: func(event []byte) { j.queues.Send(credentialsQueue, string(event), nil) }})
	}
	j.schedules = scheduler.New(scheduler.Config{Region: region, Account: account, Target: func(arn string, input []byte) {
		if s.faults.batch.Load() {
			// Lambda does not take the event, which Scheduler then gives up.
			j.queues.Send(clockQueue, string(input), map[string]string{"ERROR_CODE": "TooManyRequestsException"})
			return
		}
		asynchronous(aliasOf(arn), input)
	}})
	if j.queueURL, err = s.serve("sqs", j.queues); err == nil {
		j.busURL, err = s.serve("eventbridge", j.bus)
	}
	if err == nil {
		j.scheduleURL, err = s.serve("scheduler", j.schedules)
	}
	if err == nil {
		err = s.startBatch(1)
	}
	if err != nil {
		cancel()
		return err
	}
	mapping := sqs.Mapping{Server: j.queues, Queue: ordersQueue, Invoke: j.deliver}
	running.Go(func() { mapping.Run(ctx) })
	running.Go(func() { j.schedules.Run(ctx) })
	s.atClose(func() error {
		cancel()
		running.Wait()
		j.bus.Wait()
		return nil
	})
	return nil
}

// startBatch starts an execution environment of the batch function. concurrency is its
// number of events at a time.
func (s *stack) startBatch(concurrency int) (err error) {
	s.jobs.batch, err = runtimeapi.Start(runtimeapi.Config{
		Binary: s.dir.Binary("batch"),
		Env: append(s.environment(), "EVENT_BUS_NAME="+jobsBus, "DEAD_LETTER_QUEUE_URL="+s.deadURL(), "QUEUE_ALIAS="+queueAlias, "BUS_ALIAS="+busAlias, "SCHEDULE_ALIAS="+scheduleAlias,
			"AWS_ENDPOINT_URL_SQS="+s.jobs.queueURL, "AWS_ENDPOINT_URL_EVENTBRIDGE="+s.jobs.busURL),
		FunctionName: batchName, Region: region, Account: account, Alias: batchAlias, PrivateAliases: []string{queueAlias, busAlias, scheduleAlias},
		MemoryMB: 256, Timeout: 25 * time.Second, MaxConcurrency: concurrency, Stdout: functionLog{s, "batch"}, Stderr: functionLog{s, "batch"},
		Throttled: s.faults.batch.Load, Observe: s.observe(batchName),
	})
	if err == nil {
		s.atClose(s.jobs.batch.Close)
	}
	return err
}

func (s *stack) deadURL() string { return s.jobs.queueURL + "/" + account + "/" + deadQueue }

// deliver invokes the function for the event source mapping.
func (j *jobs) deliver(ctx context.Context, event []byte) (answer []byte, failed bool) {
	result, err := j.batch.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: queueAlias})
	return result.Payload, err != nil || result.FunctionError != ""
}

// aliasOf returns the alias in a function's ARN; empty: none.
func aliasOf(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) == 8 {
		return parts[7]
	}
	return ""
}

// invoke invokes the function for events and schedules. kind is the type of a function
// error; empty: none.
func (j *jobs) invoke(ctx context.Context, alias string, event []byte) (kind, message string) {
	result, err := j.batch.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: alias})
	switch {
	case err != nil:
		return "Lambda.Unknown", "the function could not be invoked"
	case result.FunctionError == "":
		return "", ""
	}
	var failure struct{ ErrorType, ErrorMessage string }
	_ = json.Unmarshal(result.Payload, &failure) // an error of the platform has no type
	if failure.ErrorType == "" {
		failure.ErrorType = "Unhandled"
	}
	return failure.ErrorType, failure.ErrorMessage
}

// deadLetter sends an event that failed three times to the dead-letter queue, as Lambda
// does.
func (j *jobs) deadLetter(event []byte, kind, message string) {
	attributes := map[string]string{"ErrorCode": "200", "ErrorMessage": strings.TrimSpace(kind + ": " + message)}
	j.queues.Send(deadQueue, string(event), attributes)
}
