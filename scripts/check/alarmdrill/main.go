// Command alarmdrill makes every alarm of template.yaml fire: it starts a local stack, causes the
// fault of each, reads the metrics in the stack's log, and evaluates the template's own definitions
// over them. Before that, it lets the stack work well, which must make none of them fire. Then it
// runs the template's metric filters, rules and queries over the log's lines.
//
// Times are shorter: each period of an alarm is as long as its fault takes here.
//
// At last it lets the radar examine 200 clients for three days of its own clock.
//
//	alarmdrill [ALARM… | radar]
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"tokenvendor/scripts/local/cloudwatch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) (err error) {
	template, err := readTemplate()
	if err != nil {
		return err
	}
	radar := slices.Equal(names, []string{"radar"})
	chosen, err := choose(template, names)
	if err != nil && !radar {
		return err
	}
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &runner{stack: s, template: template}
	if radar {
		return r.watch()
	}
	var errs []error
	if err := r.healthy(); err != nil {
		return err
	}
	for _, d := range chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.drill(d); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.alarm, err))
			fmt.Println("failed:", d.alarm, err)
		}
	}
	if len(names) == 0 {
		errs = append(errs, r.readLog(), r.watch())
	}
	return errors.Join(errs...)
}

// readTemplate reads the template as it is deployed with all options, and with the names that the
// local stack has.
func readTemplate() (*cloudwatch.Template, error) {
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		return nil, err
	}
	t, err := cloudwatch.ReadTemplate(text, cloudwatch.Values{
		"AWS::StackName": "token-vendor", "AWS::Region": "eu-central-1", "TokenFunction": "token-vendor", "BatchFunction": "token-vendor-batch",
		"BatchOrders.QueueName": "token-vendor-orders", "BatchDeadLetters.QueueName": "token-vendor-dead-letters",
		"ClockDeadLetters.QueueName": "token-vendor-clock-dead-letters", "BatchScheduleMinutes": "1", "ReservedConcurrency": "1",
		"AlarmTopicArn": "page", "TicketTopicArn": "ticket", "TokenLogGroup": "token", "BatchLogGroup": "batch",
	})
	if err != nil {
		return nil, err
	}
	for i := range t.Alarms {
		if t.Alarms[i].Metric.Name == "ApproximateAgeOfOldestMessage" {
			t.Alarms[i].Threshold /= 60 // minutes are seconds here
		}
	}
	return t, nil
}

// choose returns the drills of the named alarms; none: of all, and each alarm must have one.
func choose(t *cloudwatch.Template, names []string) ([]drill, error) {
	var chosen []drill
	var known []string
	for _, d := range drills() {
		known = append(known, d.alarm)
		if len(names) == 0 || slices.Contains(names, d.alarm) {
			chosen = append(chosen, d)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no alarm %s; there are %s", name, strings.Join(known, ", "))
		}
	}
	for _, a := range t.Alarms {
		if !slices.Contains(known, a.Name) {
			return nil, fmt.Errorf("no drill makes %s fire", a.Name)
		}
	}
	return chosen, nil
}

// runner runs drills.
type runner struct {
	*stack
	template *cloudwatch.Template
	seen     []cloudwatch.Datum
}

// lateLines is how long during waits for lines that a busy machine writes late.
const lateLines = 15 * time.Second

// during returns the metrics of the lines that the log gets while do runs, and until they are enough
// or lateLines have passed.
func (r *runner) during(do func() error, enough func([]cloudwatch.Datum) bool) ([]cloudwatch.Datum, error) {
	before, err := r.log(0)
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	pause := 1200 * time.Millisecond // the metrics of AWS's services come each second
	for end := time.Now().Add(lateLines); ; pause = 200 * time.Millisecond {
		time.Sleep(pause)
		text, err := r.log(len(before))
		data := cloudwatch.ReadLines(text)
		if err != nil || enough(data) || time.Now().After(end) {
			r.seen = append(r.seen, data...)
			return data, err
		}
	}
}

// healthy lets the stack work well. No alarm may fire.
func (r *runner) healthy() error {
	data, err := r.during(func() error {
		for _, client := range []string{"demo", "billing", "demo"} {
			if err := r.vend(client, ""); err != nil {
				return err
			}
		}
		if _, err := r.invoke(r.LambdaURL, r.Function, "direct", `{"client": "billing"}`); err != nil {
			return err
		}
		if err := r.schedule(`{"schedule": [{"client": "billing"}]}`); err != nil {
			return err
		}
		return r.schedule(`{"radar": true}`)
	}, func(data []cloudwatch.Datum) bool { return r.firing(data) == nil })
	if err == nil {
		err = r.firing(data)
	}
	if err == nil {
		fmt.Println("ok: a stack that works makes no alarm fire")
	}
	return err
}

// firing returns an error that names an alarm which fires although nothing is wrong; nil: there is none.
func (r *runner) firing(data []cloudwatch.Datum) error {
	for _, a := range r.template.Alarms {
		if a.Metric.Name == "ConcurrentExecutions" {
			continue // one event is all of a reservation of one
		}
		if fires, cause := a.Fires(repeat(data, a.Periods)); fires {
			return fmt.Errorf("%s fires although nothing is wrong: %s", a.Name, cause)
		}
	}
	return nil
}

func repeat(data []cloudwatch.Datum, n int) [][]cloudwatch.Datum {
	return slices.Repeat([][]cloudwatch.Datum{data}, n)
}

// drill causes a fault in each period of an alarm, which must fire.
func (r *runner) drill(d drill) error {
	alarm := d.alarm
	composite, ok := r.template.Composites[alarm]
	if ok {
		alarm = composite.Alarms[0] // one of them is enough
	}
	i := slices.IndexFunc(r.template.Alarms, func(a cloudwatch.Alarm) bool { return a.Name == alarm })
	if i < 0 {
		return errors.New("the template has no such alarm")
	}
	a := r.template.Alarms[i]
	var periods [][]cloudwatch.Datum
	var err error
	for n := 0; n < a.Periods && err == nil; n++ {
		var data []cloudwatch.Datum
		data, err = r.during(func() error { return d.fault(r.stack, n) }, func(data []cloudwatch.Datum) bool {
			fires, _ := a.Fires(slices.Concat(periods, repeat(data, a.Periods-n)))
			return fires
		})
		periods = append(periods, data)
	}
	if d.repair != nil {
		err = errors.Join(err, d.repair(r.stack))
	}
	if err != nil {
		return err
	}
	fires, cause := a.Fires(periods)
	if !fires {
		return errors.Join(fmt.Errorf("it does not fire: %d periods, metrics %s", len(periods), metricsOf(periods)), err)
	}
	if cause == nil {
		cause = []byte("no line of " + a.Metric.Name)
	}
	if ok {
		a.Actions = composite.Actions
	}
	fmt.Printf("ok: %s (%s) fires: %s\n", d.alarm, strings.Join(a.Actions, " "), cause)
	return err
}

// metricsOf names the metrics in periods.
func metricsOf(periods [][]cloudwatch.Datum) string {
	var names []string
	for _, data := range periods {
		for _, d := range data {
			if !slices.Contains(names, d.Metric.Name) {
				names = append(names, d.Metric.Name)
			}
		}
	}
	return strings.Join(names, " ")
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
