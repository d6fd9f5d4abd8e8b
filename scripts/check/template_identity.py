"""The rules about resources that exist only if an operator chose them: signing keys, web identity, policy, Function URL,
alarms and web ACL.
"""

import re

from template_expand import ACCOUNT
from template_read import condition, environment, identity_statements, many, of

CLIENT_KEYS = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/*"
SIGNING = {"kms:Sign", "kms:GetPublicKey"}
IDENTITY = {"sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken"}
PAGES = {"FuseBlown", "TableRowsLost", "PolicyFailed", "ForgedEvents", "DeliveriesFailed", "ScheduleRuns", "PolicyOpen"}
ALARMS = {"FuseBlown", "CandidateRefused", "TableRowsLost", "DocumentsFailed", "PolicyFailed", "ForgedEvents", "AuditFailures", "FailedLogons", "ExchangesWithheld", "ShadowFailed"}


def actions(statement):
    return set(many(statement.get("Action")))


def bound_to_client_keys(statement):
    """Reports whether conditions limit a statement to the keys of clients, so that its resource may be every key."""
    return (
        actions(statement) <= SIGNING
        and condition(statement, "StringLike", "kms:RequestAlias") == ["alias/token-vendor/*"]
        and condition(statement, "StringEquals", "aws:ResourceTag/token-vendor") == ["token-vendor"]
    )


def signs_by_alias(resources):
    granted = set()
    for where, statement, _ in identity_statements(resources):
        if not SIGNING & actions(statement):
            continue
        granted |= SIGNING & actions(statement)
        if not bound_to_client_keys(statement) or many(statement.get("Resource")) != [CLIENT_KEYS]:
            yield f"{where}: covers keys other than those with clients' aliases and tag"
        if "kms:Sign" in actions(statement) and condition(statement, "StringEquals", "kms:MessageType") != ["DIGEST"]:
            yield f"{where}: may sign whole messages"
    wanted = SIGNING if resources.chosen["SigningKeys"] == "true" else set()
    if granted != wanted:
        yield f"allows {sorted(granted)}, want {sorted(wanted)}"


def web_identity(resources):
    audiences = [a for a in resources.chosen["WebIdentityAudiences"].split(",") if a]
    granted = set()
    for where, statement, _ in identity_statements(resources):
        requested = IDENTITY & actions(statement)
        if not requested:
            continue
        granted |= requested
        # It is not documented that STS sets each condition key for both actions.
        if len(requested) > 1:
            yield f"{where}: allows two actions under the conditions of both"
        if condition(statement, "ForAllValues:StringEquals", "sts:IdentityTokenAudience") != audiences:
            yield f"{where}: allows audiences other than WebIdentityAudiences"
        needed = ["sts:IdentityTokenAudience"]
        if "sts:TagGetWebIdentityToken" in requested:
            needed.append("aws:TagKeys")
            if condition(statement, "ForAllValues:StringEquals", "aws:TagKeys") != ["token-vendor-client"]:
                yield f"{where}: allows tags other than the client's name"
        elif condition(statement, "NumericLessThanEquals", "sts:DurationSeconds") != [300]:
            yield f"{where}: allows tokens that live longer than five minutes"
        for key in needed:
            if condition(statement, "Null", key) != ["false"]:
                yield f"{where}: does not require {key}; ForAllValues accepts a missing key"
    if granted != (IDENTITY if audiences else set()):
        yield f"allows {sorted(granted)} for {len(audiences)} audiences"
    proving = {"TokenFunction"} | ({"BatchFunction"} if resources.chosen["BatchWebIdentity"] == "true" else set())
    for name, function in of(resources, "AWS::Lambda::Function"):
        wanted = resources.chosen["WebIdentityAudiences"] if name in proving else ""
        if environment(function).get("WEB_IDENTITY_AUDIENCES") != wanted:
            yield f"{name}: has other audiences in WEB_IDENTITY_AUDIENCES"
    for name, attached in of(resources, "AWS::IAM::Policy"):
        if any(IDENTITY & actions(s) for s in many(attached["PolicyDocument"]["Statement"])):
            roles = {f"<{name.replace('Function', 'Role')}>" for name in proving}
            if set(many(attached.get("Roles"))) != roles:
                yield f"{name}: is attached to other roles"


def policy(resources):
    secret = resources.chosen["PolicySecret"]
    for name, function in of(resources, "AWS::Lambda::Function"):
        variables = environment(function)
        if (variables.get("POLICY_MODE"), variables.get("POLICY_SECRET_ID")) != ("document" if secret else "iam", secret):
            yield f"{name}: does not use the policy that was chosen"
    readers = [r for _, s, _ in identity_statements(resources) for r in many(s.get("Resource")) if r.endswith(f":secret:{secret}-??????")]
    if secret and len(readers) != 1:
        yield "no role may read the policy"


def function_url(resources):
    aliases = {f"<{name}>": alias["Name"] for name, alias in of(resources, "AWS::Lambda::Alias")}
    asked = resources.chosen["FunctionUrl"] == "true"
    urls = of(resources, "AWS::Lambda::Url")
    if len(urls) != int(asked):
        yield f"{len(urls)} Function URLs, want {int(asked)}"
    for name, url in urls:
        if url.get("AuthType") != "AWS_IAM" or "Cors" in url:
            yield f"{name}: does not require AWS_IAM, or allows CORS"
        if url.get("Qualifier") not in aliases.values() or url.get("Qualifier") in ("http", "direct"):
            yield f"{name}: is not on an alias of its own"
    for name, function in of(resources, "AWS::Lambda::Function"):
        if "HTTP_ALIAS" in environment(function) and environment(function).get("URL_ALIAS") != (urls[0][1].get("Qualifier") if urls else ""):
            yield f"{name}: URL_ALIAS is not the alias of the Function URL"


def notified(alarm, chosen):
    """Returns what is wrong with the topic that an alarm notifies; None if nothing is."""
    page, ticket = [chosen["AlarmTopicArn"]], [chosen["TicketTopicArn"] or chosen["AlarmTopicArn"]]
    if alarm.get("AlarmActions") not in (page, ticket) or alarm.get("OKActions") != alarm.get("AlarmActions"):
        return "does not notify a topic"
    if alarm.get("MetricName") in PAGES and alarm.get("AlarmActions") != page:
        return "wakes nobody"
    return None


def late(alarm):
    """Reports whether an alarm goes off late, or never. A clock that stopped is the only thing that is noticed by missing data."""
    if alarm.get("ComparisonOperator") == "LessThanThreshold":
        if alarm.get("MetricName") == "DaysToExpiry":
            return alarm.get("DatapointsToAlarm") != 1 or alarm.get("Threshold") not in (3, 15)
        return alarm.get("TreatMissingData") != "breaching" or alarm.get("Threshold") != 1
    periods = int(alarm.get("EvaluationPeriods", 0))
    return alarm.get("ComparisonOperator") != "GreaterThanOrEqualToThreshold" or periods not in (1, 3) or int(alarm.get("Period", 300)) not in (300, 3600)


def alarms(resources):
    if not resources.chosen["AlarmTopicArn"]:
        return
    namespaces = {environment(f).get("METRICS_NAMESPACE") for _, f in of(resources, "AWS::Lambda::Function")}
    found = set()
    for name, alarm in of(resources, "AWS::CloudWatch::Alarm"):
        if alarm.get("Namespace") in namespaces and not alarm.get("Dimensions") and alarm.get("Threshold") == 1:
            found.add(alarm["MetricName"])
        if alarm.get("TreatMissingData") == "breaching" and "DependsOn" not in resources[name]:
            yield f"{name}: is on before what it watches exists"
        if late(alarm):
            yield f"{name}: is late, or never goes off"
        if problem := notified(alarm, resources.chosen):
            yield f"{name}: {problem}"
    # Callers get 5xx answers of the API, and of the Function URL where there is one.
    hurting = ["5XXError"] + ["Url5xxCount"] * (resources.chosen["FunctionUrl"] == "true")
    named = {alarm.get("MetricName"): f'ALARM("<{name}>")' for name, alarm in of(resources, "AWS::CloudWatch::Alarm")}
    for name, alarm in of(resources, "AWS::CloudWatch::CompositeAlarm"):
        missing = [metric for metric in hurting if named.get(metric, "no alarm") not in alarm.get("AlarmRule")]
        if alarm.get("AlarmActions") != [resources.chosen["AlarmTopicArn"]] or missing:
            yield f"{name}: wakes nobody if callers get errors"
    yield from silent_log(resources)
    if ALARMS - found:
        yield f"no alarm for {sorted(ALARMS - found)}"


def silent_log(resources):
    """Checks that somebody is woken if calls of a function leave no line in its log, without which there are no other metrics."""
    watched = [
        {(m["MetricStat"]["Metric"]["MetricName"], m["MetricStat"]["Metric"]["Dimensions"][0]["Value"]) for m in many(alarm.get("Metrics")) if "MetricStat" in m}
        for _, alarm in of(resources, "AWS::CloudWatch::Alarm") if alarm.get("AlarmActions") == [resources.chosen["AlarmTopicArn"]]
    ]
    for name, function in of(resources, "AWS::Lambda::Function"):
        if name == "TokenFunction" and {("Invocations", f"<{name}>"), ("IncomingLogEvents", function["LoggingConfig"]["LogGroup"])} not in watched:
            yield f"{name}: no alarm for a log that takes no lines"


def web_acl(resources):
    asked = resources.chosen["WebAclArn"]
    found = [a for _, a in of(resources, "AWS::WAFv2::WebACLAssociation")]
    if [a.get("WebACLArn") for a in found] != ([asked] if asked else []):
        yield "the web ACL is not the chosen one"
    for association in found:
        if not re.fullmatch(r"arn:aws:apigateway:eu-central-1::/restapis/<Api>/stages/<Apiv1Stage>", str(association.get("ResourceArn"))):
            yield "the web ACL is not for the API's stage"


RULES = {
    "signing": ("signing covers only keys with clients' aliases and only digests, and only if it is chosen", signs_by_alias),
    "web-identity": ("web identity tokens are only for the chosen audiences, name the client, and live five minutes at most", web_identity),
    "alarms": ("alarms exist for failures that an operator must repair", alarms),
    "policy": ("the functions read the chosen policy", policy),
    "url": ("a Function URL exists only if it is chosen, requires IAM, and has an alias of its own", function_url),
    "web-acl": ("a web ACL exists only if it is chosen, and protects the stage", web_acl),
}
