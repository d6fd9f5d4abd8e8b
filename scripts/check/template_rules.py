"""The rules that the expanded template must keep. A rule is a function that takes the resources of template_expand.expand
and yields a text for each problem. RULES collects the rules of all modules.
"""

import json
import re

import template_batch
import template_cache
import template_deploy
import template_identity
from template_expand import ACCOUNT
from template_read import (
    KEY_USE, api_statements, client_secret_prefix, condition, environment, identity_statements, key_statements, logical, many, of,
    of_the_account, trusted, walk,
)

# Actions that AWS cannot scope to a resource.
UNSCOPED = {
    "xray:PutTraceSegments", "xray:PutTelemetryRecords", "sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken", *template_deploy.ATTACH,
}
# The fields of the access log: those that join it to the function's log, that identify the caller and the client, and that say
# when a call came and why it was refused. Any other field is billed with each call, and is known from these or from the audit line.
LOGGED = {
    "$context.requestId", "$context.extendedRequestId", "$context.requestTimeEpoch", "$context.identity.userArn",
    "$context.identity.caller", "$context.identity.sourceIp", "$context.identity.vpceId", "$context.httpMethod", "$context.status",
    "$context.responseLatency", "$context.error.responseType", "$context.path",
}
# The function that returns tokens.
VENDING = "TokenFunction"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace", "x-amazon-apigateway-any-method"}

# The environment variables that a deployment may set.
VARIABLES = {
    "CLIENT_SECRET_PREFIX", "LOG_LEVEL", "CACHE_TABLE", "CACHE_KMS_KEY_ID", "PREFETCH_CLIENTS", "POLICY_MODE", "POLICY_SECRET_ID",
    "WEB_IDENTITY_AUDIENCES", "METRICS_NAMESPACE", "SSL_CERT_DIR", "RESERVED_CONCURRENCY", "NAME_PREFIX", "ALLOW_PRIVATE_ENDPOINTS",
    "EGRESS_PROXY", "AWS_ENDPOINT_URL", "NOTE_USE", "EXCHANGE_RATES",
}
ONLY_TOKEN = {"HTTP_ALIAS", "URL_ALIAS", "ENVELOPE_PROOF"}
ONLY_BATCH = {"QUEUE_ALIAS", "BUS_ALIAS", "SCHEDULE_ALIAS", "EVENT_BUS_NAME", "DEAD_LETTER_QUEUE_URL", "MAX_RECEIVES"}
# The services whose actions a role may be granted. Other rules limit the actions and resources.
SERVICES = {"dynamodb", "events", "kms", "lambda", "logs", "secretsmanager", "sqs", "xray"}
# The properties of a function. Missing on purpose: Layers (foreign code) and FileSystemConfigs.
PROPERTIES = {
    "Architectures", "Code", "DeadLetterConfig", "Description", "Environment", "FunctionName", "Handler", "LoggingConfig", "MemorySize",
    "ReservedConcurrentExecutions", "Role", "Runtime", "Tags", "Timeout", "TracingConfig", "VpcConfig",
}
TYPES = {
    "AWS::ApiGateway::Account", "AWS::ApiGateway::Deployment", "AWS::ApiGateway::RestApi", "AWS::ApiGateway::Stage",
    "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard", "AWS::CloudWatch::InsightRule", "AWS::DynamoDB::Table", "AWS::Events::EventBus", "AWS::Events::Rule", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy",
    "AWS::IAM::Role", "AWS::KMS::Alias", "AWS::KMS::Key", "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping", "AWS::Lambda::Function", "AWS::Lambda::Permission", "AWS::Lambda::Url", "AWS::Lambda::Version",
    "AWS::Logs::LogGroup", "AWS::Logs::MetricFilter", "AWS::Logs::QueryDefinition", "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::Scheduler::Schedule", "AWS::SecretsManager::Secret",
    "AWS::WAFv2::WebACLAssociation",
    # Other rules refuse these types.
    "AWS::ApiGatewayV2::Api", "AWS::ApiGateway::Method", "AWS::DynamoDB::GlobalTable", "AWS::Logs::SubscriptionFilter",
    "AWS::StepFunctions::StateMachine",
}


def vending(resources):
    return [(name, function) for name, function in of(resources, "AWS::Lambda::Function") if name == VENDING]


def no_wildcards(resources):
    identity = [(where, statement) for where, statement, _ in identity_statements(resources)]
    for where, statement in identity + list(key_statements(resources)) + list(api_statements(resources)):
        if {"NotAction", "NotResource", "NotPrincipal"} & set(statement):
            yield f"{where}: uses NotAction, NotResource or NotPrincipal"
        for action in many(statement.get("Action")):
            if "*" in action or "?" in action:
                yield f"{where}: action {action}"
    for where, statement, services in identity_statements(resources):
        if statement["Effect"] != "Allow" or set(many(statement.get("Action"))) <= UNSCOPED:
            continue
        for resource in many(statement.get("Resource")):
            whole_type = re.fullmatch(r"\*|arn:[^:]*:[^:]*:[^:]*:[^:]*:([a-z-]+[:/])?\*", resource)
            # API Gateway's role for logs is a setting of the account and serves all its APIs.
            if whole_type and template_identity.bound_to_client_keys(statement):
                continue
            # It shows names, and no values.
            if resource == "*" and many(statement.get("Action")) == ["secretsmanager:ListSecrets"] and resources.chosen["Radar"] == "true" and where.startswith("BatchRole"):
                continue
            # The rule secrets-key limits these to secrets.
            if resource.endswith(":key/*") and set(many(statement.get("Action"))) <= {"kms:Decrypt", "kms:GenerateDataKey"}:
                continue
            if whole_type and not (services == {"apigateway.amazonaws.com"} and resource.endswith(":log-group:*")):
                yield f"{where}: resource {resource}"
            elif any("*" in part for part in resource.split(":")[:5]):
                yield f"{where}: resource {resource}"


def own_roles(resources):
    roles, seen = dict(of(resources, "AWS::IAM::Role")), set()
    for name, role in roles.items():
        if role.get("ManagedPolicyArns"):
            yield f"{name}: has managed policies"
    for name, function in of(resources, "AWS::Lambda::Function"):
        role = logical(function.get("Role"))
        if role not in roles:
            yield f"{name}: its role is not in the template"
        elif role in seen:
            yield f"{name}: shares its role"
        elif trusted(roles[role]) != {"lambda.amazonaws.com"} or '"AWS"' in json.dumps(roles[role]["AssumeRolePolicyDocument"]):
            yield f"{role}: may be assumed by others than Lambda"
        seen.add(role)


def reads_labelled_versions(resources):
    prefixes = [client_secret_prefix(f) for _, f in of(resources, "AWS::Lambda::Function")]
    for where, statement, _ in identity_statements(resources):
        actions = [a for a in many(statement.get("Action")) if a.startswith("secretsmanager:")]
        if not actions or template_batch.delivers(statement) or actions == ["secretsmanager:ListSecrets"]:
            continue  # the rule wildcards allows the last one only where it is chosen
        if actions != ["secretsmanager:GetSecretValue"]:
            yield f"{where}: allows more than GetSecretValue"
        # The policy has no previous version: a rule that was removed must not come back.
        policy = any(resource.endswith("-??????") for resource in many(statement.get("Resource")))
        stages = ["AWSCURRENT"] if policy else ["AWSCURRENT", "AWSPREVIOUS"]
        if condition(statement, "ForAnyValue:StringEquals", "secretsmanager:VersionStage") != stages:
            yield f"{where}: allows versions other than {' and '.join(stages)}"
        if condition(statement, "StringEquals", "aws:ResourceAccount") != [ACCOUNT]:
            yield f"{where}: covers secrets of other accounts"
        known = {f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:{prefix}*" for prefix in prefixes}
        if resources.chosen["PolicySecret"]:
            known.add(f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:{resources.chosen['PolicySecret']}-??????")
        for resource in many(statement.get("Resource")):
            if resource not in known:
                yield f"{where}: covers secrets other than the clients' and the policy"


def keys_through_secrets_manager(resources):
    others = template_cache.keys(resources)
    identity = [(w, s) for w, s, _ in identity_statements(resources) if logical(s.get("Resource")) not in others]
    policies = [(w, s) for w, s in key_statements(resources) if w.split()[0] not in others]
    for where, statement in identity + policies:
        if statement["Effect"] != "Allow" or not KEY_USE & set(many(statement.get("Action"))):
            continue
        if condition(statement, "StringEquals", "kms:ViaService") != ["secretsmanager.eu-central-1.amazonaws.com"]:
            yield f"{where}: does not require Secrets Manager"
        if not condition(statement, "StringLike", "kms:EncryptionContext:SecretARN"):
            yield f"{where}: covers any secret"
    for where, statement in policies:
        if KEY_USE & set(many(statement.get("Action"))) and condition(statement, "StringEquals", "kms:CallerAccount") != [ACCOUNT]:
            yield f"{where}: allows other accounts"
    for where, statement in key_statements(resources):
        # The rule cache-key checks the statements of the cache's key that let somebody use it.
        if not of_the_account(statement) and not (where.split()[0] in others and KEY_USE & set(many(statement.get("Action")))):
            yield f"{where}: grants more than this account's identity policies do"
    for name, key in of(resources, "AWS::KMS::Key"):
        if name not in others and (not key.get("EnableKeyRotation") or resources[name].get("DeletionPolicy") not in template_deploy.KEPT):
            yield f"{name}: is not rotated, or is deleted with the stack"


def resource_policy(resources):
    for where, statement in api_statements(resources):
        if statement["Effect"] == "Allow":
            yield from (f"{where}: {problem}" for problem in allow_problems(statement))
    for name, api in of(resources, "AWS::ApiGateway::RestApi"):
        policy = api["Body"].get("x-amazon-apigateway-policy", {})
        if len(json.dumps(policy)) > 8192:
            yield f"{name}: the resource policy is longer than 8192 characters"
        only = [s for w, s in api_statements(resources) if s["Effect"] == "Deny" and condition(s, "StringNotEquals", "aws:SourceVpce")]
        if "PRIVATE" in many(api.get("EndpointConfiguration", {}).get("Types")) and not only:
            yield f"{name}: is private, but allows every VPC endpoint"


def allow_problems(statement):
    principal = statement.get("Principal")
    named = many(principal.get("AWS")) if isinstance(principal, dict) else [principal]
    if "*" in named and not condition(statement, "StringEquals", "aws:PrincipalOrgID"):
        yield "allows every principal"
    if any(ACCOUNT in name for name in named) or condition(statement, "StringNotEquals", "aws:PrincipalAccount") != [ACCOUNT]:
        yield "an Allow covers the own account"
    for resource in many(statement.get("Resource")):
        if not re.fullmatch(r"execute-api:/v1/POST/token/[a-z0-9-]+", resource):
            yield f"resource {resource}"


def no_data_trace(resources):
    for name, stage in of(resources, "AWS::ApiGateway::Stage"):
        for setting in many(stage.get("MethodSettings")):
            if setting.get("DataTraceEnabled") or setting.get("LoggingLevel") not in (None, "OFF", "ERROR"):
                yield f"{name}: logs requests or responses in the execution log"


def no_cache(resources):
    for name, resource in resources.items():
        if any(key in ("CacheClusterEnabled", "CachingEnabled") and value for key, value in walk(resource)):
            yield f"{name}: caches responses"


def asynchronous_results(resources):
    configs = of(resources, "AWS::Lambda::EventInvokeConfig")
    for name, config in configs:
        if config.get("DestinationConfig"):
            yield f"{name}: sends results to a destination"
    # The batch function returns no tokens.
    safe = {c.get("Qualifier") for _, c in configs if c.get("MaximumRetryAttempts") == 0 and logical(c.get("FunctionName")) == VENDING}
    aliases = {a["Name"] for _, a in of(resources, "AWS::Lambda::Alias") if logical(a.get("FunctionName")) == VENDING}
    for qualifier in sorted((aliases | {"$LATEST"}) - safe):
        yield f"{qualifier}: asynchronous invocations are retried"
    for name, function in vending(resources):
        if function.get("DeadLetterConfig"):
            yield f"{name}: has a dead-letter queue"


def no_execution_data(resources):
    for name, machine in of(resources, "AWS::StepFunctions::StateMachine"):
        if machine.get("LoggingConfiguration", {}).get("IncludeExecutionData"):
            yield f"{name}: logs execution data"


def no_secret_in_environment(resources):
    secrets = dict(of(resources, "AWS::SecretsManager::Secret"))
    for name, secret in secrets.items():
        if "SecretString" in secret or not secret.get("GenerateSecretString", {}).get("ExcludePunctuation"):
            yield f"{name}: is not generated, or may contain characters that a stage variable refuses"
        elif secret["GenerateSecretString"].get("PasswordLength", 32) < 32:
            yield f"{name}: can be guessed"
    proofs = {f"{{{{resolve:secretsmanager:<{name}>:SecretString}}}}" for name in secrets}
    for name, function in of(resources, "AWS::Lambda::Function"):
        variables = environment(function)
        if sum(len(k) + len(str(v)) for k, v in variables.items()) > 3000:
            yield f"{name}: more than 3000 bytes of environment"
        if name == VENDING and variables.get("ENVELOPE_PROOF") not in proofs:
            yield f"{name}: ENVELOPE_PROOF does not come from a generated secret"
        for key in variables:
            named_so = re.search("SECRET|PASSWORD|PASSPHRASE|TOKEN|PRIVATE|CREDENTIAL", key)
            if named_so and not key.endswith(("_PREFIX", "_ID", "_ENDPOINTS")):
                yield f"{name}: {key} looks like a secret"
        for where, secret in secrets.items():
            if str(secret.get("Name", "")).startswith(client_secret_prefix(function)) and "Name" in secret:
                yield f"{where}: has the prefix of the clients' secrets"
        if name != VENDING and "ENVELOPE_PROOF" in variables:
            yield f"{name}: has the proof although API Gateway does not call it"
        for where, stage in of(resources, "AWS::ApiGateway::Stage"):
            if name == VENDING and stage.get("Variables", {}).get("envelopeProof") != variables.get("ENVELOPE_PROOF"):
                yield f"{where}: envelopeProof is not the function's"


def only_known_parts(resources):
    for name, function in of(resources, "AWS::Lambda::Function"):
        extra = set(environment(function)) - VARIABLES - (ONLY_TOKEN if name == VENDING else ONLY_BATCH)
        # The rule environment checks these two.
        for key in sorted(key for key in extra if key not in ("CLIENT_SECRET", "ENVELOPE_PROOF")):
            yield f"{name}: {key} is not a variable that a deployment sets"
        for key in sorted(set(function) - PROPERTIES):
            yield f"{name}: has {key}"
    for where, statement, _ in identity_statements(resources):
        for action in many(statement.get("Action")):
            if action.split(":")[0] not in SERVICES and action not in UNSCOPED and "*" not in action:
                yield f"{where}: no role here needs {action}"
    for name, resource in resources.items():
        if resource["Type"] not in TYPES:
            yield f"{name}: no rule checks a {resource['Type']}"


def limits(resources):
    for name, stage in of(resources, "AWS::ApiGateway::Stage"):
        everything = [s for s in many(stage.get("MethodSettings")) if (s.get("HttpMethod"), s.get("ResourcePath")) == ("*", "/*")]
        if not any(int(s.get("ThrottlingRateLimit", 0)) > 0 and int(s.get("ThrottlingBurstLimit", 0)) > 0 for s in everything):
            yield f"{name}: is not throttled"
    for name, function in of(resources, "AWS::Lambda::Function"):
        chosen = int(resources.chosen["ReservedConcurrency"])
        if int(function.get("ReservedConcurrentExecutions", 0)) != (chosen if name == VENDING or not chosen else 20):
            yield f"{name}: does not reserve the chosen concurrency"
        if function.get("Timeout") != 25:
            yield f"{name}: its time-out is not 25 seconds"


def signed_calls_only(resources):
    for kind in ("AWS::ApiGatewayV2::Api", "AWS::ApiGateway::Method"):
        for name, _ in of(resources, kind):
            yield f"{name}: no rule checks an API of this type"
    apis, stages = of(resources, "AWS::ApiGateway::RestApi"), of(resources, "AWS::ApiGateway::Stage")
    if len(apis) != 1 or len(stages) != 1:
        yield f"{len(apis)} APIs and {len(stages)} stages, want one of each"
    for name, api in apis:
        schemes = api["Body"].get("components", {}).get("securitySchemes", {})
        if schemes.get("AWS_IAM", {}).get("x-amazon-apigateway-authtype") != "awsSigv4":
            yield f"{name}: AWS_IAM is not SigV4"
        for path, item in api["Body"]["paths"].items():
            for method in METHODS & set(item):
                if item[method].get("security") != [{"AWS_IAM": []}]:
                    yield f"{name}: {method} {path} does not require AWS_IAM"
                if "credentials" in item[method].get("x-amazon-apigateway-integration", {}):
                    yield f"{name}: {method} {path} calls the function with other credentials than the API's"


def permissions(resources):
    aliases = dict(of(resources, "AWS::Lambda::Alias"))
    http = {environment(f).get("HTTP_ALIAS") for _, f in of(resources, "AWS::Lambda::Function")}
    for name, permission in of(resources, "AWS::Lambda::Permission"):
        if template_batch.calls_batch(resources, permission):
            continue
        alias = aliases.get(str(permission.get("FunctionName")).strip("<>"), {})
        if alias.get("Name") not in http:
            yield f"{name}: is not on the alias that HTTP_ALIAS names"
        source = str(permission.get("SourceArn"))
        if not re.fullmatch(rf"arn:aws:execute-api:eu-central-1:{ACCOUNT}:<\w+>/[^/]+/POST/token/\*", source):
            yield f"{name}: its source is not the API of this account"
        if permission.get("Principal") != "apigateway.amazonaws.com":
            yield f"{name}: allows {permission.get('Principal')}"
    for name, api in of(resources, "AWS::ApiGateway::RestApi"):
        for key, value in walk(api["Body"]):
            called = re.search(r"/functions/<(\w+)>/invocations$", value) if key == "uri" else None
            if key == "uri" and (not called or aliases.get(called.group(1), {}).get("Name") not in http):
                yield f"{name}: does not call the alias that HTTP_ALIAS names"


def logs(resources):
    groups = dict(of(resources, "AWS::Logs::LogGroup"))
    for name, group in groups.items():
        if not group.get("RetentionInDays") or resources[name].get("DeletionPolicy") not in template_deploy.KEPT:
            yield f"{name}: has no retention, or is deleted with the stack"
    for name, _ in of(resources, "AWS::Logs::SubscriptionFilter"):
        yield f"{name}: sends the log to another service"
    for name, function in of(resources, "AWS::Lambda::Function"):
        config = function.get("LoggingConfig", {})
        if str(config.get("LogGroup")).strip("<>") not in groups or config.get("ApplicationLogLevel") not in ("TRACE", "DEBUG"):
            yield f"{name}: has no log group of the template, or Lambda drops lines of its log"
        if config.get("LogFormat") != "JSON" or config.get("SystemLogLevel") != "WARN":
            yield f"{name}: Lambda writes lines about each invocation to its log"
    for name, stage in of(resources, "AWS::ApiGateway::Stage"):
        yield from (f"{name}: {problem}" for problem in access_log_problems(stage.get("AccessLogSetting", {}), groups))


def access_log_problems(setting, groups):
    if str(setting.get("DestinationArn")).strip("<>").removesuffix(".Arn") not in groups:
        yield "has no access log in the template"
    try:
        fields = list(json.loads(setting.get("Format", "")).values())
    except ValueError:
        yield "the access log is not JSON"
        return
    if LOGGED - set(fields):
        yield f"the access log lacks {sorted(LOGGED - set(fields))}"
    if {"$context.identity.userAgent", "$context.error.message", "$context.error.messageString"} & set(fields):
        yield "the access log contains text that callers choose"
    elif set(fields) - LOGGED or " " in setting["Format"]:
        yield f"the access log has more than it needs: {sorted(set(fields) - LOGGED)} or spaces"
    if next(iter(fields), "") != "$context.path":
        yield "the access log has members before the path, which callers choose, that it could replace"


def referenced(node, conditions):
    """Returns the names that a value refers to, also through conditions."""
    names = set()
    if isinstance(node, list):
        return names.union(*(referenced(item, conditions) for item in node))
    if not isinstance(node, dict):
        return names
    for key, value in node.items():
        if key == "Ref":
            names.add(value)
        elif key == "Fn::Sub":
            names |= set(re.findall(r"\$\{([\w:.]+)\}", value if isinstance(value, str) else value[0]))
        elif key in ("Condition", "Fn::If") and (name := value if isinstance(value, str) else value[0]) in conditions:
            names |= referenced(conditions[name], conditions)
        names |= referenced(value, conditions)
    return names


def versions_follow_parameters(resources):
    template = resources.template
    text = str(resources["FunctionsPolicy"].get("Properties", {}).get("Description", ""))
    # One of these excludes the other, so that no scenario has the longer one of both.
    proxies = ("EgressProxy", "EgressProxySecret")
    most = max(template["Parameters"][name]["MaxLength"] for name in proxies)
    if len(text) - sum(len(resources.chosen[name]) for name in proxies) + most > 1000:
        yield "FunctionsPolicy: its description is longer than 1000 characters"
    described = referenced(template["Resources"]["FunctionsPolicy"]["Properties"].get("Description"), {})
    for name, version in of(resources, "AWS::Lambda::Version"):
        function = version["FunctionName"].strip("<>")
        if version.get("Description") != "<FunctionsPolicy>" or "<FunctionsPolicy>" not in str(resources[function]["Properties"].get("Description")):
            yield f"{name}: is not published again when FunctionsPolicy is replaced"
        used = referenced(template["Resources"][function]["Properties"], template["Conditions"]) & set(template["Parameters"])
        for parameter in sorted(used - described):
            yield f"{name}: is not published again when {parameter} changes"


RULES = {
    "wildcards": ("no wildcard actions; wildcard resources only where AWS offers no others", no_wildcards),
    "roles": ("each function has its own role, for Lambda alone, without managed policies", own_roles),
    "secrets": ("GetSecretValue covers only current and previous versions of clients' secrets in this account", reads_labelled_versions),
    "secrets-key": ("the secrets' key is used only through Secrets Manager and only for clients' secrets", keys_through_secrets_manager),
    "resource-policy": ("the resource policy allows no principal of the own account, and others only by exact path", resource_policy),
    "data-trace": ("the execution log contains no request or response", no_data_trace),
    "api-cache": ("no cache in API Gateway", no_cache),
    "async": ("results of asynchronous invocations are not kept, and no invocation is retried", asynchronous_results),
    "execution-data": ("no state machine logs execution data", no_execution_data),
    "environment": ("no secret in the environment; the proof for HTTP events is generated", no_secret_in_environment),
    "limits": ("throttling, reserved concurrency, time-out", limits),
    "authorizer": ("AWS_IAM on every method of the one API and its one stage", signed_calls_only),
    "permissions": ("only API Gateway may call, for this API, through the alias that the function trusts", permissions),
    "logs": ("logs are kept, stay in the account, and identify the caller", logs),
    **template_cache.RULES,
    **template_identity.RULES,
    **template_batch.RULES,
    **template_deploy.RULES,
    "unknown": ("the stack has only resources, properties, variables and actions that a rule knows", only_known_parts),
    "version": ("a changed parameter reaches the function's aliases", versions_follow_parameters),
}
