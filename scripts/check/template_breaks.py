"""Templates that each break one rule: the proof that the rules bite.

A breakage is a list of edits. An edit is a path into the template, members and list positions with "/" between them, and
the new value; REMOVED takes the member away.
"""

import copy

REMOVED = object()
TOKEN_ROLE = "Resources/TokenRole/Properties"
ROLE = TOKEN_ROLE + "/Policies/0/PolicyDocument/Statement"
FUNCTION = "Resources/TokenFunction/Properties"
API = "Resources/Api/Properties"
POLICY = API + "/Auth/ResourcePolicy/CustomStatements"
KEY_USE = "Resources/SecretsKey/Properties/KeyPolicy/Statement/1"
SETTINGS = API + "/MethodSettings/0"

ANYWHERE = {
    "Effect": "Allow",
    "Action": "execute-api:Invoke",
    "Resource": "execute-api:/v1/POST/token/billing",
    "Condition": {"StringNotEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}},
}
OPEN_METHOD = {
    "Type": "Api",
    "Properties": {"RestApiId": {"Ref": "Api"}, "Method": "POST", "Path": "/token/{other}", "Auth": {"Authorizer": "NONE"}},
}
MACHINE = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"LoggingConfiguration": {"IncludeExecutionData": True}}}
ALL_LOG_GROUPS = {"Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"}
MORE_SECRETS = {"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:token-vendor/*"}
TO_QUEUE = {"OnSuccess": {"Destination": "<queue>"}}
DEAD_LETTERS = {"Type": "SQS", "TargetArn": "arn:aws:sqs:eu-central-1:123456789012:dead"}
OWN_ACCOUNT = {"AWS": {"Ref": "AWS::AccountId"}}
BARE_LOG_GROUP = {"Type": "AWS::Logs::LogGroup", "DeletionPolicy": "Retain", "Properties": {}}
PERMISSION = {
    "Type": "AWS::Lambda::Permission",
    "Properties": {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "TokenFunction.Alias"},
        "Principal": "apigateway.amazonaws.com",
    },
}

BREAKS = [
    ("I-01", "an action with a wildcard", [(ROLE + "/2/Action", "logs:*")]),
    ("I-01", "a wildcard resource", [(ROLE + "/2/Resource", "*")]),
    ("I-01", "every log group", [(ROLE + "/2/Resource", ALL_LOG_GROUPS)]),
    ("I-01", "all but one action", [(ROLE + "/2/Action", REMOVED), (ROLE + "/2/NotAction", "logs:DeleteLogGroup")]),
    ("I-01", "a key policy with a wildcard", [("Resources/SecretsKey/Properties/KeyPolicy/Statement/0/Action", "kms:*")]),
    ("I-02", "a role that SAM makes", [(FUNCTION + "/Role", REMOVED)]),
    ("I-02", "a managed policy", [(TOKEN_ROLE + "/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"])]),
    ("I-02", "a role that people may take", [(TOKEN_ROLE + "/AssumeRolePolicyDocument/Statement/0/Principal/AWS", "123456789012")]),
    ("I-03", "every version of a secret", [(ROLE + "/0/Condition/ForAnyValue:StringEquals", REMOVED)]),
    ("I-03", "secrets of other accounts", [(ROLE + "/0/Condition/StringEquals", REMOVED)]),
    ("I-03", "secrets beside the clients'", [(ROLE + "/0/Resource", MORE_SECRETS)]),
    ("I-03", "writing secrets", [(ROLE + "/0/Action", ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"])]),
    ("I-04", "kms:Decrypt without Secrets Manager", [(ROLE + "/1/Condition/StringEquals", REMOVED)]),
    ("I-04", "kms:Decrypt for any secret", [(ROLE + "/1/Condition/StringLike", REMOVED)]),
    ("I-04", "a key for other accounts", [(KEY_USE + "/Condition/StringEquals/kms:CallerAccount", REMOVED)]),
    ("I-04", "a key that is never rotated", [("Resources/SecretsKey/Properties/EnableKeyRotation", False)]),
    ("I-04", "a key that goes with the stack", [("Resources/SecretsKey/DeletionPolicy", "Delete")]),
    ("I-05", "signing with any key", [(ROLE + "/2", {"Effect": "Allow", "Action": "kms:Sign", "Resource": "<key>"})]),
    ("I-08", "an Allow for everybody", [(POLICY + "/0", {**ANYWHERE, "Principal": "*"})]),
    ("I-08", "an Allow for the own account", [(POLICY + "/0", {**ANYWHERE, "Principal": OWN_ACCOUNT})]),
    ("I-08", "an organization with the own account", [(POLICY + "/3/Fn::If/1/Condition/StringNotEquals", REMOVED)]),
    ("I-08", "every client for other accounts", [(POLICY + "/2/Fn::If/1/Resource", "execute-api:/v1/POST/token/*")]),
    ("I-08", "a private API for every endpoint", [(POLICY + "/1", {"Ref": "AWS::NoValue"})]),
    ("I-09", "a data trace", [(SETTINGS + "/DataTraceEnabled", True)]),
    ("I-09", "an execution log of all requests", [(SETTINGS + "/LoggingLevel", "INFO")]),
    ("I-10", "a cache cluster", [(API + "/CacheClusterEnabled", True)]),
    ("I-10", "cached methods", [(SETTINGS + "/CachingEnabled", True)]),
    ("I-11", "repeated invocations", [(FUNCTION + "/EventInvokeConfig/MaximumRetryAttempts", 2)]),
    ("I-11", "an alias without settings", [("Resources/DirectInvokeConfig", REMOVED)]),
    ("I-11", "a place where tokens are kept", [("Resources/DirectInvokeConfig/Properties/DestinationConfig", TO_QUEUE)]),
    ("I-11", "a dead-letter queue", [(FUNCTION + "/DeadLetterQueue", DEAD_LETTERS)]),
    ("I-12", "a state machine that logs tokens", [("Resources/Machine", MACHINE)]),
    ("I-13", "a proof in clear", [(FUNCTION + "/Environment/Variables/ENVELOPE_PROOF", "clear"), (API + "/Variables/envelopeProof", "clear")]),
    ("I-13", "another proof in the stage", [(API + "/Variables", REMOVED)]),
    ("I-13", "a secret in the environment", [(FUNCTION + "/Environment/Variables/CLIENT_SECRET", "clear")]),
    ("I-13", "a proof among the clients' secrets", [("Resources/EnvelopeProof/Properties/Name", "token-vendor/clients/proof")]),
    ("I-14", "no throttling", [(SETTINGS + "/ThrottlingRateLimit", REMOVED)]),
    ("I-14", "no reserved concurrency", [(FUNCTION + "/ReservedConcurrentExecutions", REMOVED)]),
    ("I-14", "a time-out above API Gateway's", [(FUNCTION + "/Timeout", 60)]),
    ("I-15", "no authorizer", [(API + "/Auth/DefaultAuthorizer", REMOVED)]),
    ("I-15", "one open method", [(FUNCTION + "/Events/Open", OPEN_METHOD)]),
    ("I-15", "the caller's credentials", [(API + "/Auth/InvokeRole", REMOVED)]),
    ("I-15", "a second stage", [(API + "/OpenApiVersion", REMOVED)]),
    ("I-15", "a Function URL", [(FUNCTION + "/FunctionUrlConfig", {"AuthType": "AWS_IAM"})]),
    ("I-16", "a permission without a source", [("Resources/Open", PERMISSION)]),
    ("I-16", "another alias than the one that is believed", [(FUNCTION + "/Environment/Variables/HTTP_ALIAS", "other")]),
    ("I-17", "a log that is kept for ever", [("Resources/AccessLogGroup", BARE_LOG_GROUP)]),
    ("I-17", "no access log", [(API + "/AccessLogSetting", REMOVED)]),
    ("I-17", "an access log without the caller", [(API + "/AccessLogSetting/Format", '{"id": "$context.requestId"}')]),
    ("I-17", "a log that leaves", [("Resources/Filter", {"Type": "AWS::Logs::SubscriptionFilter", "Properties": {}})]),
    ("I-17", "lines that Lambda drops", [(FUNCTION + "/LoggingConfig/ApplicationLogLevel", "WARN")]),
    ("version", "an alias that keeps the old log level", [(FUNCTION + "/VersionDescription", "one for all")]),
    ("version", "a version without description", [(FUNCTION + "/VersionDescription", REMOVED)]),
]


def broken(template, edits):
    template = copy.deepcopy(template)
    for path, value in edits:
        *parents, last = path.split("/")
        node = template
        for member in parents:
            node = node[int(member)] if isinstance(node, list) else node[member]
        if value is REMOVED:
            node.pop(last, None)
        elif isinstance(node, list):
            node[int(last)] = copy.deepcopy(value)
        else:
            node[last] = copy.deepcopy(value)
    return template
