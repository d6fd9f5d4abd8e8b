"""The rules of the optional batch function: what may call it, what it may do, and where its messages end."""

import re

from template_expand import ACCOUNT
from template_read import condition, environment, identity_statements, logical, many, of

BATCH = "BatchFunction"
TARGETS = f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:token-vendor/tokens/*"
DELIVERY = {"secretsmanager:" + a for a in ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")}
# What the batch function alone may do, and only where it was chosen.
TAKING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
GRANTS = ("sqs:", "events:", "scheduler:", "lambda:", "states:")


def delivers(statement):
    """Whether a statement is about the secrets that tokens are delivered to, and nothing else."""
    return many(statement.get("Resource")) == [TARGETS]


def calls_batch(resources, permission):
    """Whether it lets the rule of the template's own bus call the batch function."""
    return (
        permission.get("Principal") == "events.amazonaws.com"
        and logical(permission.get("SourceArn")) in dict(of(resources, "AWS::Events::Rule"))
        and logical(permission.get("FunctionName")) in aliases(resources)
    )


def aliases(resources):
    """The aliases of the batch function, by logical name."""
    return {name: alias for name, alias in of(resources, "AWS::Lambda::Alias") if logical(alias.get("FunctionName")) == BATCH}


def calls(resources):
    """Yields (where, the reference that it calls) of everything that starts the batch function by itself."""
    for name, mapping in of(resources, "AWS::Lambda::EventSourceMapping"):
        yield name, mapping.get("FunctionName")
    for name, rule in of(resources, "AWS::Events::Rule"):
        yield from ((name, target.get("Arn")) for target in many(rule.get("Targets")))
    for name, schedule in of(resources, "AWS::Scheduler::Schedule"):
        yield name, schedule.get("Target", {}).get("Arn")
    for name, permission in of(resources, "AWS::Lambda::Permission"):
        if permission.get("Principal") == "events.amazonaws.com":
            yield name, permission.get("FunctionName")
    for where, statement, services in identity_statements(resources):
        if services == {"scheduler.amazonaws.com"}:
            yield from ((where, resource) for resource in many(statement.get("Resource")))


def sources_apart(resources):
    functions = dict(of(resources, "AWS::Lambda::Function"))
    if BATCH not in functions:
        return
    own, believed = aliases(resources), environment(functions[BATCH]).get("SOURCES_ALIAS")
    if sorted(a["Name"] for a in own.values()) != ["jobs", "sources"]:
        yield f"{BATCH}: its aliases are others than jobs and sources"
    if believed != "sources":
        # Empty would be everybody, and jobs is what state machines are granted.
        yield f"{BATCH}: SOURCES_ALIAS is not the alias that nobody is granted"
    if len({str(a.get("FunctionVersion")) for a in own.values()}) != 1 or any(".Version" not in str(a.get("FunctionVersion")) for a in own.values()):
        yield f"{BATCH}: its aliases are of two versions, or of none"
    configs = [c for _, c in of(resources, "AWS::Lambda::EventInvokeConfig") if logical(c.get("FunctionName")) == BATCH]
    if not any(c.get("Qualifier") == "sources" and c.get("MaximumRetryAttempts") == 2 for c in configs):
        yield f"{BATCH}: how often events are repeated is not said"
    for where, called in calls(resources):
        if own.get(logical(called), {}).get("Name") != "sources":
            yield f"{where}: calls past the alias that SOURCES_ALIAS names"


def there_when_chosen(resources):
    chosen = resources.chosen
    batch = chosen["Batch"] == "true"
    wanted = {
        "AWS::Lambda::EventSourceMapping": batch and chosen["BatchQueue"] == "true",
        "AWS::Events::EventBus": batch and chosen["BatchBus"] == "true",
        "AWS::Events::Rule": batch and chosen["BatchBus"] == "true",
        "AWS::Scheduler::Schedule": batch and chosen["BatchSchedule"] != "",
    }
    for kind, there in wanted.items():
        if len(of(resources, kind)) != int(there):
            yield f"{len(of(resources, kind))} of {kind} where {int(there)} is meant"
    functions = dict(of(resources, "AWS::Lambda::Function"))
    if (BATCH in functions) != batch:
        yield "the batch function is there, or missing, against the choice"
    if batch and BATCH in functions:
        yield from told(resources, environment(functions[BATCH]))


def told(resources, variables):
    buses = [f"<{name}>" for name, _ in of(resources, "AWS::Events::EventBus")] or ["default"]
    if variables.get("EVENT_BUS_NAME") not in buses:
        yield "EVENT_BUS_NAME is another bus"
    dead = logical(variables.get("DEAD_LETTER_QUEUE_URL"))
    if dead not in dict(of(resources, "AWS::SQS::Queue")):
        yield "DEAD_LETTER_QUEUE_URL is no queue of the template"
    for name, queue in of(resources, "AWS::SQS::Queue"):
        redrive = queue.get("RedrivePolicy")
        if name != dead and (not redrive or logical(redrive.get("deadLetterTargetArn")) != dead):
            yield f"{name}: its messages end elsewhere"
        if redrive and str(redrive.get("maxReceiveCount")) != variables.get("MAX_RECEIVES"):
            yield f"{name}: MAX_RECEIVES is not its maxReceiveCount"
        if redrive and int(queue.get("VisibilityTimeout", 30)) < 6 * 25:
            yield f"{name}: its messages come again while the function works on them"
    for name, function in of(resources, "AWS::Lambda::Function"):
        if name == BATCH and logical(function.get("DeadLetterConfig", {}).get("TargetArn")) != dead:
            yield f"{name}: events that fail are lost"
    for name, mapping in of(resources, "AWS::Lambda::EventSourceMapping"):
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: one bad message spoils the others"


def may_do(resources):
    queues = {name for name, _ in of(resources, "AWS::SQS::Queue")}
    for where, statement, services in identity_statements(resources):
        actions = {a for a in many(statement.get("Action")) if a.startswith(GRANTS)}
        reached = {logical(r) for r in many(statement.get("Resource"))}
        if actions - {"events:PutEvents", "sqs:SendMessage", "lambda:InvokeFunction"} - TAKING:
            yield f"{where}: {sorted(actions)}"
        if actions and where.split()[0] not in ("BatchRole", "BatchClockRole"):
            yield f"{where}: what the batch function alone needs"
        if actions & (TAKING | {"sqs:SendMessage"}) and not reached <= queues:
            yield f"{where}: other queues"
        if "events:PutEvents" in actions and condition(statement, "StringEquals", "events:source") != ["token-vendor"]:
            yield f"{where}: events in another's name"
        if "lambda:InvokeFunction" in actions and services != {"scheduler.amazonaws.com"}:
            yield f"{where}: calls functions"


def delivers_where_meant(resources):
    found = 0
    for where, statement, _ in identity_statements(resources):
        if "secret:token-vendor/tokens/" not in str(statement.get("Resource")):
            continue
        found += 1
        if set(many(statement.get("Action"))) != DELIVERY or not delivers(statement):
            yield f"{where}: more or less than to keep a token in a secret"
        if condition(statement, "StringEquals", "aws:ResourceTag/token-vendor-managed") != ["true"]:
            yield f"{where}: secrets that nobody meant for tokens"
        if condition(statement, "StringEquals", "aws:ResourceAccount") != [ACCOUNT]:
            yield f"{where}: secrets of other accounts"
    meant = resources.chosen["Batch"] == "true" and resources.chosen["BatchSchedule"] != ""
    if found != int(meant):
        yield f"{found} grants for deliveries where {int(meant)} is meant"


def what_could_not_be_delivered(statement):
    """EventBridge may leave what its rules on our bus could not deliver, and nobody may do anything else."""
    return (
        statement["Principal"] == {"Service": "events.amazonaws.com"}
        and many(statement["Action"]) == ["sqs:SendMessage"]
        and [logical(r) for r in many(statement["Resource"])] == ["BatchDeadLetters"]
        and re.fullmatch(r"arn:aws:events:[\w-]+:\d+:rule/<BatchEventBus>/\*", str((condition(statement, "ArnLike", "aws:SourceArn") or [""])[0])) is not None
    )


def queues_are_sealed(resources):
    policies = [p for _, p in of(resources, "AWS::SQS::QueuePolicy")]
    for name, queue in of(resources, "AWS::SQS::Queue"):
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{name}: is not encrypted"
        denied = [
            s for p in policies if f"<{name}>" in many(p.get("Queues")) for s in many(p["PolicyDocument"]["Statement"])
            if s["Effect"] == "Deny" and condition(s, "Bool", "aws:SecureTransport") == ["false"]
        ]
        if not denied:
            yield f"{name}: takes messages without TLS"
    for policy in policies:
        for s in many(policy["PolicyDocument"]["Statement"]):
            if s["Effect"] == "Allow" and not what_could_not_be_delivered(s):
                yield "a queue policy allows somebody"
    for name, rule in of(resources, "AWS::Events::Rule"):
        pattern = rule.get("EventPattern", {})
        if pattern.get("detail-type") != ["TokenRequested"] or pattern.get("source") != [{"anything-but": "token-vendor"}]:
            yield f"{name}: takes what the function announces"
        if not re.fullmatch(r"<\w+>", str(rule.get("EventBusName"))):
            yield f"{name}: is on a bus that others use"
        for target in many(rule.get("Targets")):
            if logical(target.get("DeadLetterConfig", {}).get("Arn")) != "BatchDeadLetters":
                yield f"{name}: loses what it cannot deliver"


RULES = {
    "batch": ("the batch function and its sources are there when they are chosen and only then, and nothing is lost", there_when_chosen),
    "sources": ("queue, bus and schedule have an alias of their own, and the batch function believes nobody else", sources_apart),
    "batch-role": ("queues, bus and function calls are for the batch function and its schedule only", may_do),
    "deliver": ("tokens are delivered to secrets that are meant for them, where that was chosen", delivers_where_meant),
    "queues": ("queues are encrypted, take nothing without TLS, and events do not come back", queues_are_sealed),
}
