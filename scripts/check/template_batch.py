"""The rules about the optional batch function: its callers, its permissions, and its dead-letter queue."""

import json
import re

from template_expand import ACCOUNT
from template_read import condition, environment, identity_statements, key_statements, logical, many, of

BATCH = "BatchFunction"
TARGETS = f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:token-vendor/tokens/*"
CLOCK_DEAD = "ClockDeadLetters"
EVENTS = {"TokenReady", "CandidateRefused"} | {"Credential" + e for e in ("Expiring", "Expired", "Rejected", "Unusable", "Unused", "Recovered")}
DELIVERY = {"secretsmanager:" + a for a in ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")}
# The alias of each source, and the variable that names it.
SOURCES = {"queue": "QUEUE_ALIAS", "bus": "BUS_ALIAS", "schedule": "SCHEDULE_ALIAS"}
# Only the batch function may do this, and only if it was chosen.
TAKING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
GRANTS = ("sqs:", "events:", "scheduler:", "lambda:", "states:")


def delivers(statement):
    """Reports whether a statement covers exactly the secrets to which tokens are delivered."""
    return many(statement.get("Resource")) == [TARGETS]


def calls_batch(resources, permission):
    """Reports whether a permission lets a rule of the template's own bus call the batch function."""
    return (
        permission.get("Principal") == "events.amazonaws.com"
        and logical(permission.get("SourceArn")) in dict(of(resources, "AWS::Events::Rule"))
        and logical(permission.get("FunctionName")) in aliases(resources)
    )


def aliases(resources):
    """Returns the aliases of the batch function by logical name."""
    return {name: alias for name, alias in of(resources, "AWS::Lambda::Alias") if logical(alias.get("FunctionName")) == BATCH}


def calls(resources):
    """Yields (where, called reference, source) for every resource that starts the batch function: queue, rule and schedule."""
    for name, mapping in of(resources, "AWS::Lambda::EventSourceMapping"):
        yield name, mapping.get("FunctionName"), "queue"
    for name, rule in of(resources, "AWS::Events::Rule"):
        yield from ((name, target.get("Arn"), "bus") for target in many(rule.get("Targets")))
    for name, schedule in of(resources, "AWS::Scheduler::Schedule"):
        yield name, schedule.get("Target", {}).get("Arn"), "schedule"
    for name, permission in of(resources, "AWS::Lambda::Permission"):
        if permission.get("Principal") == "events.amazonaws.com":
            yield name, permission.get("FunctionName"), "bus"
    for where, statement, services in identity_statements(resources):
        if services == {"scheduler.amazonaws.com"} and "lambda:InvokeFunction" in many(statement.get("Action")):
            yield from ((where, resource, "schedule") for resource in many(statement.get("Resource")))


def sources_have_an_alias(resources):
    functions = dict(of(resources, "AWS::Lambda::Function"))
    if BATCH not in functions:
        return
    own, variables = aliases(resources), environment(functions[BATCH])
    if sorted(a["Name"] for a in own.values()) != sorted(["jobs", *SOURCES]):
        yield f"{BATCH}: its aliases are not jobs and one for each source"
    for source, variable in SOURCES.items():
        if variables.get(variable) != source:
            # An empty value would trust every caller, and state machines are granted jobs.
            yield f"{BATCH}: {variable} is not the alias of its source"
    if len({str(a.get("FunctionVersion")) for a in own.values()}) != 1 or any(".Version" not in str(a.get("FunctionVersion")) for a in own.values()):
        yield f"{BATCH}: its aliases do not point to the same published version"
    configs = [c for _, c in of(resources, "AWS::Lambda::EventInvokeConfig") if logical(c.get("FunctionName")) == BATCH]
    for source in ("bus", "schedule"):  # a queue invokes synchronously
        if not any(c.get("Qualifier") == source and c.get("MaximumRetryAttempts") == 2 for c in configs):
            yield f"{BATCH}: does not state how often events of the {source} are retried"
    for where, called, source in calls(resources):
        if own.get(logical(called), {}).get("Name") != source:
            yield f"{where}: does not call the alias that {SOURCES[source]} names"


def exists_if_chosen(resources):
    chosen = resources.chosen
    batch = chosen["Batch"] == "true"
    wanted = {
        "AWS::Lambda::EventSourceMapping": batch and chosen["BatchQueue"] == "true",
        "AWS::Events::EventBus": batch and chosen["BatchBus"] == "true",
        "AWS::Events::Rule": batch and chosen["BatchBus"] == "true",
    }
    wanted = {kind: int(exists) for kind, exists in wanted.items()}
    wanted["AWS::Scheduler::Schedule"] = (batch and chosen["BatchSchedule"] != "") + (batch and chosen["Radar"] == "true")
    for kind, count in wanted.items():
        if len(of(resources, kind)) != count:
            yield f"{len(of(resources, kind))} of {kind}, want {count}"
    functions = dict(of(resources, "AWS::Lambda::Function"))
    if (BATCH in functions) != batch:
        yield "the batch function exists although it is not chosen, or is missing"
    if batch and BATCH in functions:
        yield from variable_problems(resources, environment(functions[BATCH]))


def variable_problems(resources, variables):
    buses = [f"<{name}>" for name, _ in of(resources, "AWS::Events::EventBus")] or ["default"]
    if variables.get("EVENT_BUS_NAME") not in buses:
        yield "EVENT_BUS_NAME is not the chosen bus"
    dead = logical(variables.get("DEAD_LETTER_QUEUE_URL"))
    if dead not in dict(of(resources, "AWS::SQS::Queue")):
        yield "DEAD_LETTER_QUEUE_URL is not a queue of the template"
    for name, queue in of(resources, "AWS::SQS::Queue"):
        redrive = queue.get("RedrivePolicy")
        if name not in (dead, CLOCK_DEAD) and (not redrive or logical(redrive.get("deadLetterTargetArn")) != dead):
            yield f"{name}: does not use the dead-letter queue"
        if redrive and str(redrive.get("maxReceiveCount")) != variables.get("MAX_RECEIVES"):
            yield f"{name}: MAX_RECEIVES is not its maxReceiveCount"
        if redrive and int(queue.get("VisibilityTimeout", 30)) < 6 * 25:
            yield f"{name}: delivers a message again while the function processes it"
    for name, function in of(resources, "AWS::Lambda::Function"):
        if name == BATCH and logical(function.get("DeadLetterConfig", {}).get("TargetArn")) != dead:
            yield f"{name}: loses events that fail"
    for name, mapping in of(resources, "AWS::Lambda::EventSourceMapping"):
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: one bad message fails the others"


def radar_is_hourly(name, schedule):
    try:
        members = json.loads(schedule["Target"]["Input"])
    except ValueError:
        members = {}
    if members.get("radar") is not True or set(members) != {"id", "time", "radar"} or schedule.get("ScheduleExpression") != "rate(1 hour)":
        yield f"{name}: does not examine all clients each hour"


def schedule_is_json(resources):
    """Compares the schedule's input with a reading of the parameter of its own."""
    for name, schedule in of(resources, "AWS::Scheduler::Schedule"):
        if logical(schedule["Target"].get("DeadLetterConfig", {}).get("Arn")) != CLOCK_DEAD:
            yield f"{name}: loses runs that it cannot deliver"
        if name == "RadarClock":
            yield from radar_is_hourly(name, schedule)
            continue
        requests = [dict(member.split("=", 1) for member in request.split("+")) for request in resources.chosen["BatchSchedule"].split(",")]
        try:
            done = json.loads(schedule["Target"]["Input"]).get("schedule")
        except ValueError:
            done = None
        if done != requests:
            yield f"{name}: does not do what BatchSchedule says"
        if schedule.get("ScheduleExpression") != f"rate({resources.chosen['BatchScheduleMinutes']} minutes)":
            yield f"{name}: does not follow BatchScheduleMinutes"


def permissions(resources):
    queues = {name for name, _ in of(resources, "AWS::SQS::Queue")}
    for where, statement, services in identity_statements(resources):
        actions = {a for a in many(statement.get("Action")) if a.startswith(GRANTS)}
        reached = {logical(r) for r in many(statement.get("Resource"))}
        if actions - {"events:PutEvents", "sqs:SendMessage", "lambda:InvokeFunction"} - TAKING:
            yield f"{where}: allows {sorted(actions)}"
        if actions and where.split()[0] not in ("BatchRole", "BatchClockRole"):
            yield f"{where}: has a permission that only the batch function needs"
        if actions & (TAKING | {"sqs:SendMessage"}) and not reached <= queues:
            yield f"{where}: covers other queues"
        if "events:PutEvents" in actions and condition(statement, "StringEquals", "events:source") != ["token-vendor"]:
            yield f"{where}: allows events with another source"
        types = condition(statement, "StringEquals", "events:detail-type") or [] if "events:PutEvents" in actions else []
        if types != ["TokenReady"] and "events:PutEvents" in actions and not (resources.chosen["Radar"] == "true" and set(types) == EVENTS):
            yield f"{where}: allows events of other types"
        if "lambda:InvokeFunction" in actions and services != {"scheduler.amazonaws.com"}:
            yield f"{where}: may call functions"


def delivers_to_tagged_secrets(resources):
    found = 0
    for where, statement, _ in identity_statements(resources):
        if "secret:token-vendor/tokens/" not in str(statement.get("Resource")):
            continue
        found += 1
        if set(many(statement.get("Action"))) != DELIVERY or not delivers(statement):
            yield f"{where}: allows more or less than keeping a token in a secret"
        if condition(statement, "StringEquals", "aws:ResourceTag/token-vendor-managed") != ["true"]:
            yield f"{where}: covers secrets without the tag token-vendor-managed"
        if condition(statement, "StringEquals", "aws:ResourceAccount") != [ACCOUNT]:
            yield f"{where}: covers secrets of other accounts"
    batch = resources.chosen["Batch"] == "true"
    for where, statement in key_statements(resources):
        served = condition(statement, "StringLike", "kms:EncryptionContext:SecretARN")
        # The secrets are created before BatchSchedule names them.
        if served and (TARGETS in served) != batch:
            yield f"{where}: refuses secrets for deliveries, or serves them although there are none"
    wanted = batch and resources.chosen["BatchSchedule"] != ""
    if found != int(wanted):
        yield f"{found} grants for deliveries, want {int(wanted)}"


def is_dead_letter_grant(statement):
    """Reports whether a statement allows only that EventBridge sends events that our bus could not deliver."""
    return (
        statement["Principal"] == {"Service": "events.amazonaws.com"}
        and many(statement["Action"]) == ["sqs:SendMessage"]
        and [logical(r) for r in many(statement["Resource"])] == ["BatchDeadLetters"]
        and re.fullmatch(r"arn:aws:events:[\w-]+:\d+:rule/<BatchEventBus>/\*", str((condition(statement, "ArnLike", "aws:SourceArn") or [""])[0])) is not None
    )


def queues_are_sealed(resources):
    policies = [p for _, p in of(resources, "AWS::SQS::QueuePolicy")]
    for name, queue in of(resources, "AWS::SQS::Queue"):
        if {"Ref": name} not in [output["Value"] for output in resources.template["Outputs"].values()]:
            yield f"{name}: has a generated name, which no output tells"
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{name}: is not encrypted"
        denied = [
            s for p in policies if f"<{name}>" in many(p.get("Queues")) for s in many(p["PolicyDocument"]["Statement"])
            if s["Effect"] == "Deny" and condition(s, "Bool", "aws:SecureTransport") == ["false"]
        ]
        if not denied:
            yield f"{name}: accepts messages without TLS"
    for policy in policies:
        for s in many(policy["PolicyDocument"]["Statement"]):
            if s["Effect"] == "Allow" and not is_dead_letter_grant(s):
                yield "a queue policy allows more than dead letters of EventBridge"
    for name, rule in of(resources, "AWS::Events::Rule"):
        pattern = rule.get("EventPattern", {})
        if pattern.get("detail-type") != ["TokenRequested"] or pattern.get("source") != [{"anything-but": "token-vendor"}]:
            yield f"{name}: matches the function's own announcements"
        if not re.fullmatch(r"<\w+>", str(rule.get("EventBusName"))):
            yield f"{name}: is on a bus that is not the template's"
        for target in many(rule.get("Targets")):
            if logical(target.get("DeadLetterConfig", {}).get("Arn")) != "BatchDeadLetters":
                yield f"{name}: loses events that it cannot deliver"


RULES = {
    "batch": ("the batch function and its sources exist only if they are chosen, and no message is lost", exists_if_chosen),
    "schedule": ("the schedule's input is the JSON of BatchSchedule", schedule_is_json),
    "sources": ("queue, bus and schedule have an alias each, and the batch function trusts only these", sources_have_an_alias),
    "batch-role": ("only the batch function and its schedule may use queues and bus and call functions", permissions),
    "deliveries": ("tokens are delivered only to secrets with the tag for it, and only if that is chosen", delivers_to_tagged_secrets),
    "queues": ("queues are encrypted and accept nothing without TLS, and the function's own events do not return to it", queues_are_sealed),
}
