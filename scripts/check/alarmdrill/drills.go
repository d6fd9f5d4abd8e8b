package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// drill causes the fault that an alarm is about.
type drill struct {
	alarm string
	// fault is called once for each period of the alarm.
	fault func(s *stack, period int) error
	// repair is called at the end; nil: there is nothing to repair.
	repair func(s *stack) error
}

// wrong is a client_secret that no server accepts.
const wrong = "wrong"

// urlEvent is a request of the developer by the Function URL for a client whose document is broken.
const urlEvent = `{"version": "2.0", "rawPath": "/token/broken", "requestContext": {
 "domainName": "x.lambda-url.eu-central-1.on.aws", "http": {"method": "POST", "path": "/token/broken"},
 "authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:user/developer"}}}}`

func name(what string, period int) string { return fmt.Sprintf("%s-%d", what, period) }

// each joins faults.
func each(faults ...func() error) error {
	for _, fault := range faults {
		if err := fault(); err != nil {
			return err
		}
	}
	return nil
}

// drills returns the drills of all alarms.
func drills() []drill {
	broken := func(call func(s *stack) error) func(s *stack, _ int) error {
		return func(s *stack, _ int) error {
			err := s.write(s.Prefix+"broken", `{"client_id": 1}`)
			for range 5 {
				err = errors.Join(err, call(s))
			}
			return err
		}
	}
	byAPI := func(s *stack) error { return s.want(http.StatusBadGateway, "broken", "") }
	return append([]drill{
		{"CallersHurtAlarm", broken(byAPI), nil},
		{"ServerErrorAlarm", broken(byAPI), nil},
		{"UrlErrorAlarm", broken(func(s *stack) error {
			answer, err := s.invoke(s.LambdaURL, s.Function, "url", urlEvent)
			if err == nil && !bytes.Contains(answer, []byte(`"statusCode":502`)) {
				err = fmt.Errorf("got %.300s, want the status 502", answer)
			}
			return err
		}), nil},
		{"LogAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.fault("drop", true) }, func() error { return s.vend("demo", "") })
		}, func(s *stack) error { return s.fault("drop", false) }},
		{"FunctionErrorAlarm", func(s *stack, _ int) error {
			_, err := s.invoke(s.LambdaURL, s.Function, "direct", `{"client": "no-such-client"}`)
			return err
		}, nil},
		{"FunctionThrottleAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.fault("token", true) }, func() error { return s.want(http.StatusBadGateway, "demo", "") })
		}, func(s *stack) error { return s.fault("token", false) }},
		{"DurationAlarm", func(s *stack, period int) error {
			server, err := s.client(name("slow", period), map[string]any{"attempt_timeout": 9})
			if err != nil {
				return err
			}
			server.Misbehave(oauthtest.Late(5500 * time.Millisecond))
			return s.vend(name("slow", period), "")
		}, nil},
		{"ConcurrencyAlarm", func(s *stack, _ int) error { return s.vend("demo", "") }, nil},
		{"AuditAlarm", auditFailure, func(s *stack) error { return s.restart() }},
		{"PolicyAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.write(s.PolicySecret, `{"rules": 1}`) }, s.restart, func() error { return s.want(http.StatusForbidden, "demo", "") })
		}, goodAgain},
		{"OpenPolicyAlarm", func(s *stack, _ int) error {
			open := strings.Replace(goodPolicy, "aws:123456789012:user/developer", `aws:*:role/*", "aws:123456789012:user/developer`, 1)
			return each(func() error { return s.write(s.PolicySecret, open) }, s.restart, func() error { return s.schedule(`{"radar": true}`) })
		}, goodAgain},
		{"ForgeryAlarm", func(s *stack, _ int) error {
			_, err := s.invoke(s.LambdaURL, s.Function, "direct", `{"httpMethod": "POST", "resource": "/token/{client}", "path": "/token/demo", "requestContext": {"identity": {}}}`)
			return err
		}, nil},
	}, append(append(credentialDrills(), tableDrills()...), jobDrills()...)...)
}

func goodAgain(s *stack) error {
	return each(func() error { return s.write(s.PolicySecret, goodPolicy) }, s.restart)
}

// auditFailure lets the log take no line until a decision cannot be recorded, and no token leaves.
func auditFailure(s *stack, _ int) (err error) {
	if err := s.fault("log", true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.fault("log", false)) }()
	for range 400 {
		status, _, err := s.ask(0, "demo", "")
		if err != nil {
			return err
		}
		if status >= http.StatusInternalServerError {
			// The next invocation writes what was counted.
			return errors.Join(s.fault("log", false), s.vend("demo", ""))
		}
	}
	return errors.New("tokens are vended although no line is written")
}

// shadowLife is the life of the tokens of a client with a shadow: one of a minute is not replaced
// before its end.
const shadowLife = 62 * time.Second

// dryRun reads a client's secret now, for all environments: otherwise a new one takes the reading of
// the environment before it.
func (s *stack) dryRun(client string) error {
	_, err := s.invoke(s.LambdaURL, s.Function, "direct", `{"client": "`+client+`", "dry_run": true}`)
	return err
}

// vendAnother reports a client's token as rejected, and gets another one.
func (s *stack) vendAnother(client string) error {
	_, answer, err := s.ask(0, client, "")
	if err != nil {
		return err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	return errors.Join(json.Unmarshal(answer, &token), s.vend(client, "rejected="+hash(token.AccessToken)))
}

func credentialDrills() []drill {
	return []drill{
		{"FailedLogonAlarm", func(s *stack, _ int) error {
			_, err := s.client("mistyped", map[string]any{"client_secret": wrong})
			return errors.Join(err, s.want(http.StatusBadGateway, "mistyped", ""))
		}, nil},
		{"FuseAlarm", func(s *stack, _ int) error {
			_, err := s.client("blown", map[string]any{"client_secret": wrong})
			return errors.Join(err, s.want(http.StatusBadGateway, "blown", ""), s.want(http.StatusBadGateway, "blown", "scope=other"), s.want(http.StatusBadGateway, "blown", ""))
		}, nil},
		{"CandidateAlarm", func(s *stack, _ int) error {
			server, err := s.client("rotated", nil)
			return errors.Join(err, s.vend("rotated", ""), s.document("rotated", server, map[string]any{"client_secret": wrong}), s.restart(), s.dryRun("rotated"), s.vend("rotated", "min_ttl=3599"), s.vendAnother("rotated"))
		}, nil},
		{"DocumentAlarm", func(s *stack, _ int) error {
			_, err := s.client("spoiled", nil)
			return errors.Join(err, s.vend("spoiled", ""), s.write(s.Prefix+"spoiled", "not JSON"), s.restart(), s.dryRun("spoiled"), s.vend("spoiled", ""))
		}, nil},
		{"ShadowAlarm", func(s *stack, _ int) error {
			// The shadow is tried when a token is replaced before its end.
			server, err := s.client("shadowed", map[string]any{"shadow": map[string]any{"client_secret": wrong}})
			if err != nil {
				return err
			}
			err = errors.Join(server.Update("shadowed", func(c *oauthtest.Client) { c.Lifetime = shadowLife }), s.vend("shadowed", ""))
			time.Sleep(shadowLife * 9 / 10)
			return errors.Join(err, s.vend("shadowed", ""))
		}, nil},
		{"WithheldAlarm", func(s *stack, period int) error {
			server, err := s.client(name("throttled", period), nil)
			if err != nil {
				return err
			}
			server.Misbehave(oauthtest.HTML429("60"))
			for i := range 3 {
				if _, _, err := s.ask(0, name("throttled", period), fmt.Sprintf("scope=s%d", i)); err != nil {
					return err
				}
			}
			return nil
		}, nil},
		{"ExpiryAlarm", func(s *stack, _ int) error { return s.ends("ends-soon", 10) }, nil},
		{"ExpirySoonAlarm", func(s *stack, _ int) error { return s.ends("ends-now", 2) }, nil},
		{"RadarStoppedAlarm", func(s *stack, _ int) error { return s.vend("demo", "") }, nil},
	}
}

// ends writes a client whose secret ends in so many days, and lets the radar run.
func (s *stack) ends(client string, days int) error {
	_, err := s.client(client, map[string]any{"expires": time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour).UTC().Format(time.RFC3339)})
	return errors.Join(err, s.schedule(`{"radar": true}`))
}

func jobDrills() []drill {
	batch := func(on bool) func(s *stack) error { return func(s *stack) error { return s.fault("batch", on) } }
	event := func(s *stack, client string) error {
		_, err := s.aws("AWSEvents.PutEvents", map[string]any{"Entries": []map[string]string{{
			"EventBusName": s.EventBus, "Source": "drill", "DetailType": "TokenRequested", "Detail": `{"client": "` + client + `"}`,
		}}})
		return err
	}
	order := func(s *stack, body string) error {
		_, err := s.aws("AmazonSQS.SendMessage", map[string]string{"QueueUrl": s.OrdersURL, "MessageBody": body})
		return err
	}
	return []drill{
		{"DeadLetterAlarm", func(s *stack, _ int) error {
			err := order(s, `{"client": "No such name"}`)
			time.Sleep(time.Second)
			return err
		}, nil},
		{"BatchErrorAlarm", func(s *stack, _ int) error {
			err := event(s, "no-such-client")
			time.Sleep(time.Second)
			return err
		}, nil},
		{"BatchThrottleAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.fault("batch", true) }, func() error { return event(s, "demo") }, func() error { time.Sleep(time.Second); return nil })
		}, batch(false)},
		{"OrderAgeAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.fault("batch", true) }, func() error { return order(s, `{"client": "demo"}`) }, func() error { time.Sleep(6 * time.Second); return nil })
		}, batch(false)},
		{"DeliveryAlarm", func(s *stack, _ int) error {
			return s.schedule(`{"schedule": [{"client": "demo", "deliver_to": "token-vendor/tokens/no-such-secret"}]}`)
		}, nil},
		{"ClockStoppedAlarm", func(s *stack, _ int) error { return s.vend("demo", "") }, nil},
		{"ClockDeadLetterAlarm", func(s *stack, _ int) error {
			return each(func() error { return s.fault("batch", true) }, func() error { return s.schedule(`{"schedule": [{"client": "demo"}]}`) })
		}, batch(false)},
	}
}

// item is an item of DynamoDB.
type item map[string]map[string]string

func tableDrills() []drill {
	return []drill{
		{"TableFailedAlarm", func(s *stack, period int) error {
			_, err := s.client(name("alone", period), nil)
			// An environment calls a table that does not answer once in half a minute only.
			return errors.Join(err, s.fault("table", true), s.restart(), s.vend(name("alone", period), ""))
		}, func(s *stack) error { return errors.Join(s.fault("table", false), s.restart()) }},
		{"TableRefusedAlarm", func(s *stack, period int) error {
			if _, err := s.client(name("foreign", period), nil); err != nil {
				return err
			}
			if err := s.vend(name("foreign", period), ""); err != nil {
				return err
			}
			err := s.rewrite(func(i item) {
				if state := i["state"]["B"]; state != "" {
					i["state"] = map[string]string{"B": strings.Repeat("A", len(state)&^3)}
				}
			})
			return errors.Join(err, s.restart(), s.vend(name("foreign", period), ""))
		}, nil},
		{"TableAlarm", func(s *stack, _ int) error {
			_, err := s.client("replayed", nil)
			if err := errors.Join(err, s.vendScopes("replayed", "a")); err != nil {
				return err
			}
			before, err := s.items()
			if err := errors.Join(err, s.vendScopes("replayed", "b")); err != nil {
				return err
			}
			for _, i := range before {
				if err := s.put(i); err != nil {
					return err
				}
			}
			return s.vendScopes("replayed", "c")
		}, nil},
	}
}

// vendScopes gets tokens for a few scopes, each of which needs an exchange.
func (s *stack) vendScopes(client, prefix string) error {
	for i := range 5 {
		if err := s.vend(client, fmt.Sprintf("scope=%s%d", prefix, i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) items() ([]item, error) {
	out, err := s.aws("DynamoDB_20120810.Scan", map[string]string{"TableName": s.Table})
	if err != nil {
		return nil, err
	}
	var items []item
	return items, json.Unmarshal(out["Items"], &items)
}

func (s *stack) put(i item) error {
	_, err := s.aws("DynamoDB_20120810.PutItem", map[string]any{"TableName": s.Table, "Item": i})
	return err
}

// rewrite changes every item of the table, as a foreign program could.
func (s *stack) rewrite(change func(item)) error {
	items, err := s.items()
	if err != nil {
		return err
	}
	for _, i := range items {
		change(i)
		if err := s.put(i); err != nil {
			return err
		}
	}
	return nil
}
