"""Templates that each break one rule. They prove that every rule can fail.

A breakage is a list of edits. An edit is a path into the template and a new value. A path consists of members and list
positions, separated by "/". The value REMOVED removes the member.
"""

import copy

REMOVED = object()
TOKEN_ROLE = "Resources/TokenRole/Properties"
OWN = TOKEN_ROLE + "/Policies/0/PolicyDocument/Statement"
ROLE = "Resources/FunctionsPolicy/Properties/PolicyDocument/Statement"
BATCH = "Resources/BatchFunction/Properties"
BATCH_VARIABLES = BATCH + "/Environment/Variables"
BATCH_ROLE = "Resources/BatchRole/Properties/Policies/0/PolicyDocument/Statement"
CLOCK_ROLE = "Resources/BatchClockRole/Properties/Policies/0/PolicyDocument/Statement"
JOBS = {"Ref": "BatchFunction.Alias"}
THIRD_ALIAS = {
    "Type": "AWS::Lambda::Alias",
    "Condition": "WithBatch",
    "Properties": {"Name": "more", "FunctionName": {"Ref": "BatchFunction"}, "FunctionVersion": {"Fn::GetAtt": ["BatchFunction", "Version.Version"]}},
}
TAKE, DELIVER = (f"{BATCH_ROLE}/{position}/Fn::If/1" for position in (4, 5))
FUNCTION = "Resources/TokenFunction/Properties"
VARIABLES = FUNCTION + "/Environment/Variables"
API = "Resources/Api/Properties"
POLICY = API + "/Auth/ResourcePolicy/CustomStatements"
KEY_USE = "Resources/SecretsKey/Properties/KeyPolicy/Statement/1"
KEY_ADMIN = "Resources/SecretsKey/Properties/KeyPolicy/Statement/0"
SETTINGS = API + "/MethodSettings/0"
TABLE = "Resources/SharedCacheTable"
CACHE_KEY = "Resources/SharedCacheKey"
CACHE_KEY_POLICY = CACHE_KEY + "/Properties/KeyPolicy/Statement"
SHARE, OPEN, SEAL = (f"{ROLE}/{position}/Fn::If/1" for position in (2, 3, 4))
READ_POLICY, OPEN_POLICY, SIGN, READ_KEY = (f"{ROLE}/{position}/Fn::If/1" for position in (5, 6, 7, 8))
PROVE, TAG = (f"Resources/ProvePolicy/Properties/PolicyDocument/Statement/{position}" for position in (0, 1))
URL = "Resources/Url/Properties"

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
MORE_SECRETS = {"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/*"}
TO_QUEUE = {"OnSuccess": {"Destination": "<queue>"}}
TYPED = {"OnSuccess": {"Type": "SQS", "Destination": "arn:aws:sqs:eu-central-1:123456789012:results"}}
DEAD_LETTERS = {"Type": "SQS", "TargetArn": "arn:aws:sqs:eu-central-1:123456789012:dead"}
OWN_ACCOUNT = {"AWS": {"Ref": "AWS::AccountId"}}
BARE_LOG_GROUP = {"Type": "AWS::Logs::LogGroup", "DeletionPolicy": "RetainExceptOnCreate", "Properties": {}}
MORE_TABLES = {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${AWS::StackName}-*"}
NOTHING = {"Ref": "AWS::NoValue"}
STREAM = {"StreamViewType": "NEW_IMAGE"}
INDEX = {"IndexName": "expiry", "KeySchema": [{"AttributeName": "name", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}
ALWAYS = {"Fn::Equals": ["1", "1"]}
ITEMS = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
SHARE_ALWAYS = {"Effect": "Allow", "Action": ITEMS, "Resource": {"Fn::GetAtt": ["SharedCacheTable", "Arn"]}}
OPEN_ALWAYS = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": {"Fn::GetAtt": ["SharedCacheKey", "Arn"]}}
TABLE_NAME = "Condition/StringEquals/kms:EncryptionContext:aws:dynamodb:tableName"
DESCRIPTION = "Resources/FunctionsPolicy/Properties/Description"
DESCRIBED = (
    "${ClientSecretPrefix} ${PrefetchClients} ${LogLevel} ${MemorySize} ${Architecture} ${Tracing} ${SharedCache} ${PolicySecret}"
    " ${WebIdentityAudiences} ${FunctionUrl} ${ReservedConcurrency} ${PrivateEndpoints} ${EgressProxy} ${EgressProxySecret}"
    " ${SubnetIds} ${SecurityGroupIds} ${Batch} ${BatchBus} ${BatchWebIdentity}"
)


def without(parameter):
    return [(DESCRIPTION, {"Fn::Sub": DESCRIBED.replace("${" + parameter + "}", "")})]


NEVER = {"Fn::Equals": ["0", "1"]}
FORMAT = API + "/AccessLogSetting/Format"
ACCESS_LOG = "{" + ",".join(
    f'"{number}":"$context.{name}"'
    for number, name in enumerate((
        "path", "requestId", "extendedRequestId", "requestTimeEpoch", "identity.userArn", "identity.caller", "identity.sourceIp",
        "identity.vpceId", "httpMethod", "status", "error.responseType", "responseLatency",
    ))
) + "}"
PERMISSION = {
    "Type": "AWS::Lambda::Permission",
    "Properties": {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "TokenFunction.Alias"},
        "Principal": "apigateway.amazonaws.com",
    },
}

BREAKS = [
    ("wildcards", "an action with a wildcard", [(OWN + "/0/Action", "logs:*")]),
    ("wildcards", "a wildcard resource", [(OWN + "/0/Resource", "*")]),
    ("wildcards", "every log group", [(OWN + "/0/Resource", ALL_LOG_GROUPS)]),
    ("wildcards", "all but one action", [(OWN + "/0/Action", REMOVED), (OWN + "/0/NotAction", "logs:DeleteLogGroup")]),
    ("wildcards", "a key policy with a wildcard", [("Resources/SecretsKey/Properties/KeyPolicy/Statement/0/Action", "kms:*")]),
    ("wildcards", "every action on the table", [(SHARE + "/Action", "dynamodb:*")]),
    ("wildcards", "every table", [(SHARE + "/Resource", "*")]),
    ("wildcards", "another use of every key", [(f"{ROLE}/11", {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "arn:aws:kms:eu-central-1:123456789012:key/*"})]),
    ("wildcards", "every use of the cache's key", [(CACHE_KEY_POLICY + "/1/Action", "kms:*")]),
    ("roles", "a role from outside the template", [(FUNCTION + "/Role", "arn:aws:iam::123456789012:role/other")]),
    ("roles", "a managed policy", [(TOKEN_ROLE + "/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"])]),
    ("roles", "a role that a user may assume", [(TOKEN_ROLE + "/AssumeRolePolicyDocument/Statement/0/Principal/AWS", "123456789012")]),
    ("secrets", "every version of a secret", [(ROLE + "/0/Condition/ForAnyValue:StringEquals", REMOVED)]),
    ("secrets", "pending versions", [(ROLE + "/0/Condition/ForAnyValue:StringEquals", {"secretsmanager:VersionStage": ["AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"]})]),
    ("secrets", "secrets of other accounts", [(ROLE + "/0/Condition/StringEquals", REMOVED)]),
    ("secrets", "secrets other than the clients'", [(ROLE + "/0/Resource", MORE_SECRETS)]),
    ("secrets", "writing secrets", [(ROLE + "/0/Action", ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"])]),
    ("secrets-key", "kms:Decrypt without Secrets Manager", [(ROLE + "/1/Condition/StringEquals", REMOVED)]),
    ("secrets-key", "kms:Decrypt for any secret", [(ROLE + "/1/Condition/StringLike", REMOVED)]),
    ("secrets-key", "kms:Decrypt for a cache that does not exist", [(ROLE + "/3/Fn::If/2", OPEN_ALWAYS)]),
    ("secrets-key", "a key for other accounts", [(KEY_USE + "/Condition/StringEquals/kms:CallerAccount", REMOVED)]),
    ("secrets-key", "a key for every principal", [(KEY_USE + "/Principal", {"AWS": "*"})]),
    ("secrets-key", "a key that another account administers", [(KEY_ADMIN + "/Principal/AWS", "arn:aws:iam::999999999999:root")]),
    ("secrets-key", "a key that is never rotated", [("Resources/SecretsKey/Properties/EnableKeyRotation", False)]),
    ("secrets-key", "a key that is deleted with the stack", [("Resources/SecretsKey/DeletionPolicy", "Delete")]),
    ("secrets-key", "kms:Decrypt of the policy without Secrets Manager", [(OPEN_POLICY + "/Condition/StringEquals", REMOVED)]),
    ("secrets", "every version of the policy", [(READ_POLICY + "/Condition/ForAnyValue:StringEquals", REMOVED)]),
    ("signing", "signing with another key", [(SIGN + "/Resource", "arn:aws:kms:eu-central-1:123456789012:key/1")]),
    ("signing", "signing whole messages", [(SIGN + "/Condition/StringEquals/kms:MessageType", REMOVED)]),
    ("signing", "signing that is not chosen", [("Conditions/WithSigningKeys", ALWAYS)]),
    ("signing", "a choice without effect", [("Conditions/WithSigningKeys", NEVER)]),
    ("signing", "signing without reading the public key", [(ROLE + "/8", NOTHING)]),
    ("web-identity", "any audience", [(PROVE + "/Condition/ForAllValues:StringEquals/sts:IdentityTokenAudience", "*")]),
    ("web-identity", "no audience", [(PROVE + "/Condition/Null/sts:IdentityTokenAudience", REMOVED)]),
    ("web-identity", "no tag", [(TAG + "/Condition/Null/aws:TagKeys", REMOVED)]),
    ("web-identity", "any tag", [(TAG + "/Condition/ForAllValues:StringEquals/aws:TagKeys", REMOVED)]),
    ("web-identity", "a token for an hour", [(PROVE + "/Condition/NumericLessThanEquals/sts:DurationSeconds", 3600)]),
    ("web-identity", "a token without its tags", [(TAG, NOTHING)]),
    ("web-identity", "two actions with the conditions of both", [(PROVE + "/Action", ["sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken"])]),
    ("web-identity", "web identity for the batch function that is not chosen", [("Conditions/WithBatchWebIdentity", {"Condition": "WithBatch"})]),
    ("web-identity", "tags for any audience", [(TAG + "/Condition/ForAllValues:StringEquals/sts:IdentityTokenAudience", "*")]),
    ("alarms", "an alarm that never goes off", [("Resources/FuseAlarm/Properties/ComparisonOperator", "LessThanThreshold")]),
    ("alarms", "an alarm that is late", [("Resources/DocumentAlarm/Properties/EvaluationPeriods", 100)]),
    ("unknown", "a function that trusts every event", [(VARIABLES + "/AWS_SAM_LOCAL", "true")]),
    ("network", "servers at private addresses", [(VARIABLES + "/ALLOW_PRIVATE_ENDPOINTS", "true")]),
    ("network", "a proxy that is not chosen", [(BATCH_VARIABLES + "/EGRESS_PROXY", "http://proxy.example:3128")]),
    ("network", "a secret with a proxy that has no effect", [("Conditions/WithEgressProxySecret", NEVER)]),
    ("network", "an endpoint in place of AWS", [(VARIABLES + "/AWS_ENDPOINT_URL", "http://192.0.2.1")]),
    ("network", "an endpoint that SAM CLI cannot set", [(BATCH_VARIABLES + "/AWS_ENDPOINT_URL", REMOVED)]),
    ("network", "a function outside the VPC", [(FUNCTION + "/VpcConfig", REMOVED)]),
    ("network", "a function in no security group", [(FUNCTION + "/VpcConfig/Fn::If/1/SecurityGroupIds", [])]),
    ("network", "roles that cannot attach the functions", [(ROLE + "/9", NOTHING)]),
    ("network", "functions whose code may change the VPC", [(ROLE + "/10", NOTHING)]),
    ("network", "another function whose code may not change the VPC", [(ROLE + "/10/Fn::If/1/Condition/ArnEquals/lambda:SourceFunctionArn", "arn:aws:lambda:eu-central-1:123456789012:function:other")]),
    ("boundary", "a role without the boundary", [(TOKEN_ROLE + "/PermissionsBoundary", REMOVED)]),
    ("boundary", "a boundary that is not chosen", [(TOKEN_ROLE + "/PermissionsBoundary", "arn:aws:iam::aws:policy/PowerUserAccess")]),
    ("redeploy", "an API that keeps its endpoint type", [(POLICY + "/0/Sid", "NeverWithoutTLS")]),
    ("parameters", "a schedule in JSON", [("Parameters/BatchSchedule/AllowedPattern", "^.*$")]),
    ("parameters", "a list with spaces", [("Parameters/SharedClients/AllowedPattern", "^[a-z, -]*$")]),
    ("parameters", "a value with spaces", [("Parameters/BatchScheduleMinutes", {"Type": "String", "Default": "rate(5 minutes)"})]),
    ("parameters", "a parameter that must be given", [("Parameters/AlarmTopicArn/Default", REMOVED)]),
    ("parameters", "a value that the guided deploy demands", [("Parameters/EgressProxySecret/NoEcho", True)]),
    ("parameters", "a pattern that refuses what is meant", [("Parameters/PrivateEndpoints/AllowedPattern", "^(true|false)$")]),
    ("parameters", "a length that refuses what is meant", [("Parameters/PrefetchClients/MaxLength", 48)]),
    ("interface", "a parameter in no group", [("Metadata/AWS::CloudFormation::Interface/ParameterGroups/0/Parameters", [])]),
    ("interface", "a parameter without a name", [("Metadata/AWS::CloudFormation::Interface/ParameterLabels/Batch", REMOVED)]),
    ("interface", "no groups", [("Metadata", {})]),
    ("first-deployment", "a reservation by default", [("Parameters/ReservedConcurrency/Default", 50)]),
    ("first-deployment", "an access log without a role by default", [("Parameters/ApiGatewayLogRole/Default", "existing")]),
    ("failed-create", "a key that a failed create leaves", [("Resources/SecretsKey/DeletionPolicy", "Retain")]),
    ("failed-create", "a log that a failed create leaves", [("Resources/TokenLogGroup/DeletionPolicy", "Retain")]),
    ("failed-create", "a setting whose role a failed create deletes", [("Resources/ApiGatewayLogsRole/DeletionPolicy", "RetainExceptOnCreate")]),
    ("old-secrets", "secrets under the new key only", [(ROLE + "/1/Resource", {"Fn::GetAtt": ["SecretsKey", "Arn"]})]),
    ("old-secrets", "deliveries under the new key only", [(BATCH_ROLE + "/6/Fn::If/1/Resource", {"Fn::GetAtt": ["SecretsKey", "Arn"]})]),
    ("stacks", "aliases of all stacks", [(VARIABLES + "/NAME_PREFIX", "token-vendor"), (BATCH_VARIABLES + "/NAME_PREFIX", "token-vendor")]),
    ("stacks", "metrics of all stacks", [(VARIABLES + "/METRICS_NAMESPACE", "TokenVendor/token-vendor")]),
    ("deliveries", "a key for secrets that a schedule names already", [(KEY_USE + "/Condition/StringLike/kms:EncryptionContext:SecretARN/2/Fn::If/0", "WithBatchSchedule")]),
    ("stacks", "delivered tokens of all stacks", [("Resources/SecretsKey/Properties/KeyPolicy/Statement/1/Condition/StringLike/kms:EncryptionContext:SecretARN/2/Fn::If/1", {"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:token-vendor/tokens/*"})]),
    ("stacks", "an alias of all stacks", [("Resources/SecretsKeyAlias/Properties/AliasName", "alias/token-vendor-secrets")]),
    ("schedule", "runs that are lost", [("Resources/BatchClock/Properties/Target/DeadLetterConfig", REMOVED)]),
    ("schedule", "a radar of some clients", [("Resources/RadarClock/Properties/Target/Input", '{"radar":["billing"]}')]),
    ("alarms", "an alarm that wakes nobody", [("Resources/FuseAlarm/Properties/AlarmActions", [{"Ref": "TicketTopicArn"}]), ("Resources/FuseAlarm/Properties/OKActions", [{"Ref": "TicketTopicArn"}])]),
    ("alarms", "a clock that may stop", [("Resources/ClockStoppedAlarm/Properties/TreatMissingData", "notBreaching")]),
    ("batch-role", "events of any type", [("Resources/BatchRole/Properties/Policies/0/PolicyDocument/Statement/3/Condition/StringEquals/events:detail-type", REMOVED)]),
    ("schedule", "a schedule in the parameter's own form", [("Resources/BatchClock/Properties/Target/Input", {"Fn::Sub": '{"schedule":"${BatchSchedule}"}'})]),
    ("schedule", "a schedule that runs when it wants", [("Resources/BatchClock/Properties/ScheduleExpression", "rate(1 hours)")]),
    ("unknown", "foreign code in the function", [(FUNCTION + "/Layers", ["arn:aws:lambda:eu-central-1:999999999999:layer:x:1"])]),
    ("unknown", "a role that writes to S3", [(OWN + "/0/Action", ["logs:PutLogEvents", "s3:PutObject"])]),
    ("unknown", "a role that assumes another role", [(OWN + "/0/Action", ["logs:PutLogEvents", "sts:AssumeRole"])]),
    ("unknown", "a resource that no rule checks", [("Resources/Open", {"Type": "AWS::SecretsManager::ResourcePolicy", "Properties": {}})]),
    ("url", "a Function URL for web pages", [(URL + "/Cors", {"AllowOrigins": ["*"]})]),
    ("web-identity", "audiences that are not chosen", [(VARIABLES + "/WEB_IDENTITY_AUDIENCES", "https://other.example")]),
    ("web-identity", "a choice without effect", [("Conditions/WithWebIdentity", NEVER)]),
    ("alarms", "no alarm for forged events", [("Resources/ForgeryAlarm", REMOVED)]),
    ("alarms", "an alarm for another function's metric", [("Resources/FuseAlarm/Properties/Namespace", {"Fn::Sub": "TokenVendor/${AWS::StackName}-other"})]),
    ("alarms", "an alarm without a topic", [("Resources/AuditAlarm/Properties/AlarmActions", REMOVED)]),
    ("alarms", "an alarm that is older than its clock", [("Resources/ClockStoppedAlarm/DependsOn", REMOVED)]),
    ("queues", "a queue that an operator cannot find", [("Outputs/ClockDeadLetterQueueUrl", REMOVED)]),
    ("alarms", "a log that may be dead", [("Resources/LogAlarm/Properties/Metrics/2/MetricStat/Metric/Dimensions/0/Value", {"Ref": "BatchLogGroup"})]),
    ("alarms", "a Function URL whose errors wake nobody", [("Resources/CallersHurtAlarm/Properties/AlarmRule", {"Fn::Sub": 'ALARM("${ServerErrorAlarm}")'})]),
    ("alarms", "no alarm for errors of the Function URL", [("Resources/UrlErrorAlarm/Properties/MetricName", "Url4xxCount")]),
    ("policy", "a policy mode that is not chosen", [(VARIABLES + "/POLICY_MODE", "iam")]),
    ("policy", "another secret", [(VARIABLES + "/POLICY_SECRET_ID", "other")]),
    ("policy", "a policy that cannot be read", [(ROLE + "/5", NOTHING)]),
    ("url", "a Function URL that SAM generates", [(FUNCTION + "/FunctionUrlConfig", {"AuthType": "AWS_IAM"})]),
    ("url", "an open Function URL", [(URL + "/AuthType", "NONE")]),
    ("url", "a Function URL that is not chosen", [("Conditions/WithFunctionUrl", ALWAYS)]),
    ("url", "a Function URL on API Gateway's alias", [(URL + "/Qualifier", "http")]),
    ("url", "a Function URL without an alias", [(URL + "/Qualifier", REMOVED)]),
    ("url", "a function that does not know its URL's alias", [(VARIABLES + "/URL_ALIAS", "")]),
    ("web-acl", "a web ACL that is not chosen", [("Resources/WebAcl/Condition", REMOVED)]),
    ("web-acl", "a web ACL for something else", [("Resources/WebAcl/Properties/ResourceArn", "arn:aws:apigateway:eu-central-1::/restapis/x/stages/y")]),
    ("resource-policy", "an Allow for every principal", [(POLICY + "/4", {**ANYWHERE, "Principal": "*"})]),
    ("resource-policy", "an Allow for the own account", [(POLICY + "/4", {**ANYWHERE, "Principal": OWN_ACCOUNT})]),
    ("resource-policy", "an organization with the own account", [(POLICY + "/3/Fn::If/1/Condition/StringNotEquals", REMOVED)]),
    ("resource-policy", "every client for other accounts", [(POLICY + "/2/Fn::If/1/Resource", "execute-api:/v1/POST/token/*")]),
    ("resource-policy", "a private API for every endpoint", [(POLICY + "/1", {"Ref": "AWS::NoValue"})]),
    ("data-trace", "a data trace", [(SETTINGS + "/DataTraceEnabled", True)]),
    ("data-trace", "an execution log of all requests", [(SETTINGS + "/LoggingLevel", "INFO")]),
    ("api-cache", "a cache cluster", [(API + "/CacheClusterEnabled", True)]),
    ("api-cache", "cached methods", [(SETTINGS + "/CachingEnabled", True)]),
    ("async", "retried invocations", [(FUNCTION + "/EventInvokeConfig/MaximumRetryAttempts", 2)]),
    ("async", "an alias without settings", [("Resources/DirectInvokeConfig", REMOVED)]),
    ("async", "a destination that keeps tokens", [("Resources/DirectInvokeConfig/Properties/DestinationConfig", TO_QUEUE)]),
    ("async", "a dead-letter queue", [(FUNCTION + "/DeadLetterQueue", DEAD_LETTERS)]),
    ("execution-data", "a state machine that logs tokens", [("Resources/Machine", MACHINE)]),
    ("environment", "a proof in clear", [(VARIABLES + "/ENVELOPE_PROOF", "clear"), (API + "/Variables/envelopeProof", "clear")]),
    ("environment", "a different proof in the stage", [(API + "/Variables", REMOVED)]),
    ("environment", "a secret in the environment", [(VARIABLES + "/CLIENT_SECRET", "clear")]),
    ("environment", "a proof that can be guessed", [("Resources/EnvelopeProof/Properties/GenerateSecretString/PasswordLength", 8)]),
    ("environment", "a proof among the clients' secrets", [("Resources/EnvelopeProof/Properties/Name", "token-vendor/clients/proof")]),
    ("limits", "no throttling", [(SETTINGS + "/ThrottlingRateLimit", REMOVED)]),
    ("limits", "no reserved concurrency", [(FUNCTION + "/ReservedConcurrentExecutions", REMOVED)]),
    ("limits", "a time-out above API Gateway's", [(FUNCTION + "/Timeout", 60)]),
    ("authorizer", "no authorizer", [(API + "/Auth/DefaultAuthorizer", REMOVED)]),
    ("authorizer", "one open method", [(FUNCTION + "/Events/Open", OPEN_METHOD)]),
    ("authorizer", "the caller's credentials", [(API + "/Auth/InvokeRole", REMOVED)]),
    ("authorizer", "a second stage", [(API + "/OpenApiVersion", REMOVED)]),
    ("permissions", "a permission without a source", [("Resources/Open", PERMISSION)]),
    ("permissions", "an alias other than the trusted one", [(VARIABLES + "/HTTP_ALIAS", "other")]),
    ("logs", "a log without retention", [("Resources/AccessLogGroup", BARE_LOG_GROUP)]),
    ("logs", "no access log", [(API + "/AccessLogSetting", REMOVED)]),
    ("logs", "an access log without the caller", [(API + "/AccessLogSetting/Format", '{"id": "$context.requestId"}')]),
    ("logs", "a subscription filter", [("Resources/Filter", {"Type": "AWS::Logs::SubscriptionFilter", "Properties": {}})]),
    ("logs", "lines that Lambda drops", [(FUNCTION + "/LoggingConfig/ApplicationLogLevel", "WARN")]),
    ("logs", "lines of Lambda about each invocation", [(FUNCTION + "/LoggingConfig/SystemLogLevel", "INFO")]),
    ("logs", "lines of Lambda in plain text", [(FUNCTION + "/LoggingConfig/LogFormat", "Text")]),
    ("cache-table", "a table with an AWS owned key", [(TABLE + "/Properties/SSESpecification/KMSMasterKeyId", REMOVED)]),
    ("cache-table", "a table with the AWS managed key", [(TABLE + "/Properties/SSESpecification/KMSMasterKeyId", "alias/aws/dynamodb")]),
    ("cache-table", "a table without encryption settings", [(TABLE + "/Properties/SSESpecification", REMOVED)]),
    ("cache-table", "items without expiry", [(TABLE + "/Properties/TimeToLiveSpecification", REMOVED)]),
    ("cache-table", "expiry that is turned off", [(TABLE + "/Properties/TimeToLiveSpecification/Enabled", False)]),
    ("cache-table", "expiry by another attribute", [(TABLE + "/Properties/TimeToLiveSpecification/AttributeName", "ttl")]),
    ("cache-table", "backups", [(TABLE + "/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", True)]),
    ("cache-table", "backups that the template does not turn off", [(TABLE + "/Properties/PointInTimeRecoverySpecification", REMOVED)]),
    ("cache-table", "provisioned billing", [(TABLE + "/Properties/BillingMode", "PROVISIONED")]),
    ("cache-table", "the default billing mode", [(TABLE + "/Properties/BillingMode", REMOVED)]),
    ("cache-table", "a stream", [(TABLE + "/Properties/StreamSpecification", STREAM)]),
    ("cache-table", "an index", [(TABLE + "/Properties/GlobalSecondaryIndexes", [INDEX])]),
    ("cache-table", "another key", [(TABLE + "/Properties/KeySchema/0/AttributeName", "id")]),
    ("cache-table", "a binary key", [(TABLE + "/Properties/AttributeDefinitions/0/AttributeType", "B")]),
    ("cache-table", "a table that outlives the stack", [(TABLE + "/DeletionPolicy", "RetainExceptOnCreate")]),
    ("cache-table", "a table that is protected from deletion", [(TABLE + "/Properties/DeletionProtectionEnabled", True)]),
    ("cache-table", "a global table", [("Resources/Global", {"Type": "AWS::DynamoDB::GlobalTable", "Properties": {}})]),
    ("cache-items", "reading the whole table", [(SHARE + "/Action", [*ITEMS, "dynamodb:Scan"])]),
    ("cache-items", "querying the table", [(SHARE + "/Action", [*ITEMS, "dynamodb:Query"])]),
    ("cache-items", "deleting the table", [(SHARE + "/Action", [*ITEMS, "dynamodb:DeleteTable"])]),
    ("cache-items", "deleting items", [(SHARE + "/Action", [*ITEMS, "dynamodb:DeleteItem"])]),
    ("cache-items", "other tables", [(SHARE + "/Resource", [{"Fn::GetAtt": ["SharedCacheTable", "Arn"]}, MORE_TABLES])]),
    ("cache-items", "a grant without a table", [(ROLE + "/2/Fn::If/2", SHARE_ALWAYS)]),
    ("cache-key", "the key for any data", [(SEAL + "/Condition", REMOVED)]),
    ("cache-key", "the key for another table", [(SEAL + "/Condition/StringEquals/kms:EncryptionContext:table", "other")]),
    ("cache-key", "more than sealing", [(SEAL + "/Action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt"])]),
    ("cache-key", "grants for other principals", [(SEAL + "/Action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant"])]),
    ("cache-key", "the table's key without DynamoDB", [(OPEN + "/Condition/StringEquals/kms:ViaService", REMOVED)]),
    ("cache-key", "the key of every table", [(f"{OPEN}/{TABLE_NAME}", REMOVED)]),
    ("cache-key", "new keys through DynamoDB", [(OPEN + "/Action", ["kms:Decrypt", "kms:GenerateDataKey"])]),
    ("cache-key", "a key for other accounts", [(CACHE_KEY_POLICY + "/1/Condition/StringEquals/kms:CallerAccount", REMOVED)]),
    ("cache-key", "a key policy without DynamoDB", [(CACHE_KEY_POLICY + "/1/Condition/StringEquals/kms:ViaService", REMOVED)]),
    ("cache-key", "a key policy for every role of the account", [(CACHE_KEY_POLICY + "/3/Principal/AWS", {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"})]),
    ("cache-key", "a key policy for another role", [(CACHE_KEY_POLICY + "/3/Principal/AWS", "arn:aws:iam::123456789012:role/other")]),
    ("cache-key", "a key policy without the batch function", [(CACHE_KEY_POLICY + "/3/Principal/AWS/1", NOTHING)]),
    ("cache-key", "a key policy that opens every table", [(CACHE_KEY_POLICY + "/2/Condition/StringEquals/kms:EncryptionContext:aws:dynamodb:tableName", REMOVED)]),
    ("cache-key", "a key policy for any data", [(CACHE_KEY_POLICY + "/3/Condition/StringEquals/kms:EncryptionContext:table", REMOVED)]),
    ("cache-key", "a key policy for another table", [(CACHE_KEY_POLICY + "/3/Condition/StringEquals/kms:EncryptionContext:table", "other")]),
    ("cache-key", "a table name that its key's policy does not allow", [(TABLE + "/Properties/TableName", REMOVED)]),
    ("cache-key", "a key that is never rotated", [(CACHE_KEY + "/Properties/EnableKeyRotation", REMOVED)]),
    ("cache-key", "a key that outlives its table", [(CACHE_KEY + "/DeletionPolicy", "RetainExceptOnCreate")]),
    ("cache-choice", "a table without permissions", [(ROLE + "/2", NOTHING)]),
    ("cache-choice", "a table without permission to write", [(SHARE + "/Action", "dynamodb:GetItem")]),
    ("cache-choice", "a table that the function cannot decrypt", [(ROLE + "/3", NOTHING)]),
    ("cache-choice", "a key without permissions", [(ROLE + "/4", NOTHING)]),
    ("cache-choice", "a key that only decrypts", [(SEAL + "/Action", "kms:Decrypt")]),
    ("cache-choice", "a shared cache that is not chosen", [("Conditions/WithSharedCache", ALWAYS)]),
    ("cache-choice", "a choice without effect", [("Conditions/WithSharedCache", NEVER)]),
    ("cache-choice", "a table and a key that are not chosen", [(TABLE + "/Condition", REMOVED), (CACHE_KEY + "/Condition", REMOVED)]),
    ("cache-choice", "a key that is not chosen", [(CACHE_KEY + "/Condition", REMOVED)]),
    ("cache-choice", "an alias without a key", [("Resources/SharedCacheKeyAlias/Condition", REMOVED)]),
    ("cache-choice", "a function without CACHE_TABLE", [(VARIABLES + "/CACHE_TABLE", "")]),
    ("cache-choice", "a function with CACHE_TABLE but without a table", [(VARIABLES + "/CACHE_TABLE/Fn::If/2", "table")]),
    ("cache-choice", "a function without the key", [(VARIABLES + "/CACHE_KMS_KEY_ID", "")]),
    ("cache-choice", "a function that prefetches no client", [(VARIABLES + "/PREFETCH_CLIENTS", "")]),
    ("cache-choice", "a function without the rates of servers", [(VARIABLES + "/EXCHANGE_RATES", "")]),
    ("batch", "a bus that is missing", [("Conditions/WithBatchBus", NEVER)]),
    ("batch", "a queue without its mapping", [("Resources/BatchOrdersMapping", REMOVED)]),
    ("batch", "another bus", [(BATCH_VARIABLES + "/EVENT_BUS_NAME", "other")]),
    ("batch", "another dead-letter queue", [(BATCH_VARIABLES + "/DEAD_LETTER_QUEUE_URL", "other")]),
    ("batch", "messages without a dead-letter queue", [("Resources/BatchOrders/Properties/RedrivePolicy", REMOVED)]),
    ("batch", "messages that SQS moves before the function adds a reason", [("Resources/BatchOrders/Properties/RedrivePolicy/maxReceiveCount", 3)]),
    ("batch", "messages that are delivered again too early", [("Resources/BatchOrders/Properties/VisibilityTimeout", 30)]),
    ("batch", "messages that fail each other", [("Resources/BatchOrdersMapping/Properties/FunctionResponseTypes", REMOVED)]),
    ("batch", "events that are lost", [(BATCH + "/DeadLetterQueue", REMOVED)]),
    ("sources", "a function that trusts every caller", [(BATCH_VARIABLES + "/QUEUE_ALIAS", REMOVED)]),
    ("sources", "a function that trusts every alias", [(BATCH_VARIABLES + "/BUS_ALIAS", "")]),
    ("sources", "a function that trusts state machines", [(BATCH_VARIABLES + "/SCHEDULE_ALIAS", "jobs")]),
    ("sources", "a queue that calls the state machines' alias", [("Resources/BatchOrdersMapping/Properties/FunctionName", JOBS)]),
    ("sources", "a rule that calls the state machines' alias", [("Resources/BatchRule/Properties/Targets/0/Arn", JOBS)]),
    ("sources", "a permission for events on the state machines' alias", [("Resources/BatchRulePermission/Properties/FunctionName", JOBS)]),
    ("sources", "a schedule that calls the state machines' alias", [("Resources/BatchClock/Properties/Target/Arn", JOBS)]),
    ("sources", "a schedule's role that may call the state machines' alias", [(CLOCK_ROLE + "/0/Resource", JOBS)]),
    ("sources", "a schedule's role that may call both aliases", [(CLOCK_ROLE + "/0/Resource", [{"Ref": "BatchScheduleAlias"}, JOBS])]),
    ("sources", "one alias for all", [(BATCH + "/AutoPublishAlias", "bus"), ("Resources/BatchBusAlias/Properties/Name", "jobs")]),
    ("sources", "an alias of unpublished code", [("Resources/BatchBusAlias/Properties/FunctionVersion", "$LATEST")]),
    ("sources", "a schedule that calls the alias of the queue", [("Resources/BatchClock/Properties/Target/Arn", {"Ref": "BatchQueueAlias"})]),
    ("sources", "a schedule that is trusted by the alias of the bus", [(BATCH_VARIABLES + "/SCHEDULE_ALIAS", "bus")]),
    ("sources", "a further alias", [("Resources/BatchMore", THIRD_ALIAS)]),
    ("sources", "events that Lambda retries by its default", [("Resources/BatchScheduleInvokeConfig", REMOVED)]),
    ("batch-role", "messages of any queue", [(TAKE + "/Resource", "arn:aws:sqs:eu-central-1:123456789012:other")]),
    ("batch-role", "deleting queues", [(TAKE + "/Action", ["sqs:ReceiveMessage", "sqs:DeleteQueue"])]),
    ("batch-role", "events with any source", [(BATCH_ROLE + "/3/Condition", REMOVED)]),
    ("batch-role", "queues for the other function", [(OWN + "/2", {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["BatchDeadLetters", "Arn"]}})]),
    ("batch-role", "calling functions", [(BATCH_ROLE + "/7", {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": {"Ref": "DirectAlias"}})]),
    ("deliveries", "secrets without the tag", [(DELIVER + "/Condition/StringEquals/aws:ResourceTag~1token-vendor-managed", REMOVED)]),
    ("deliveries", "deleting secrets", [(DELIVER + "/Action", ["secretsmanager:PutSecretValue", "secretsmanager:DeleteSecret"])]),
    ("deliveries", "deliveries that are not chosen", [(BATCH_ROLE + "/5/Fn::If/0", "WithBatch")]),
    ("secrets", "writing clients' documents", [(BATCH_ROLE + "/7", {"Effect": "Allow", "Action": "secretsmanager:PutSecretValue", "Resource": MORE_SECRETS})]),
    ("queues", "a queue without encryption", [("Resources/BatchOrders/Properties/SqsManagedSseEnabled", REMOVED)]),
    ("queues", "a queue without TLS", [("Resources/BatchOrdersPolicy", REMOVED)]),
    ("queues", "a queue for every principal", [("Resources/BatchDeadLettersPolicy/Properties/PolicyDocument/Statement/1", {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"})]),
    ("queues", "a queue for every rule", [("Resources/BatchDeadLettersPolicy/Properties/PolicyDocument/Statement/2", {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["BatchDeadLetters", "Arn"]}})]),
    ("queues", "undeliverable events that are lost", [("Resources/BatchRule/Properties/Targets/0/DeadLetterConfig", REMOVED)]),
    ("queues", "announcements that return to the function", [("Resources/BatchRule/Properties/EventPattern/source", REMOVED)]),
    ("queues", "events of the default bus", [("Resources/BatchRule/Properties/EventBusName", REMOVED)]),
    ("roles", "a role for two functions", [(BATCH + "/Role", {"Fn::GetAtt": ["TokenRole", "Arn"]})]),
    ("async", "a destination for the batch function's results", [(BATCH + "/EventInvokeConfig/DestinationConfig", TYPED)]),
    ("environment", "a proof that the batch function does not need", [(BATCH_VARIABLES + "/ENVELOPE_PROOF", "x")]),
    ("limits", "no reserved concurrency for the batch function", [(BATCH + "/ReservedConcurrentExecutions", REMOVED)]),
    ("permissions", "a permission for every rule", [("Resources/BatchRulePermission/Properties/SourceArn", "arn:aws:events:eu-central-1:123456789012:rule/other")]),
    ("version", "an alias of the batch function that ignores a parameter", without("BatchBus")),
    ("version", "an alias that ignores the choice of the cache", without("SharedCache")),
    ("version", "an alias that ignores the choice of the policy", without("PolicySecret")),
    ("version", "an alias that ignores the proxy", without("EgressProxy")),
    ("version", "an alias that ignores the subnets", without("SubnetIds")),
    ("version", "a description that is too long", [(DESCRIPTION, {"Fn::Sub": DESCRIBED + 200 * " "})]),
    ("version", "a proxy that is too long for the description", [("Parameters/EgressProxy/MaxLength", 100)]),
    ("version", "an alias that keeps the old log level", [(FUNCTION + "/VersionDescription", "one for all")]),
    ("version", "a version without description", [(FUNCTION + "/VersionDescription", REMOVED)]),
    ("version", "a version of a function that did not change", [(FUNCTION + "/Description", "one for all")]),
    ("logs", "an access log without the reason", [(FORMAT, ACCESS_LOG.replace("responseType", "validationErrorString"))]),
    ("logs", "an access log without the client", [(FORMAT, ACCESS_LOG.replace("$context.path", "$context.stage"))]),
    ("logs", "an access log whose path could replace the caller", [(FORMAT, '{"id":"$context.requestId",' + ACCESS_LOG[1:])]),
    ("logs", "an access log with text of callers", [(FORMAT, ACCESS_LOG[:-1] + ',"error":"$context.error.message"}')]),
    ("logs", "an access log that repeats the audit line", [(FORMAT, ACCESS_LOG[:-1] + ',"id":"$context.integration.requestId"}')]),
    ("logs", "an access log with spaces", [(FORMAT, ACCESS_LOG.replace(",", ", "))]),
]


def broken(template, edits):
    template = copy.deepcopy(template)
    for path, value in edits:
        # As in a JSON pointer (RFC 6901, section 3), ~1 is a slash in a name.
        *parents, last = (member.replace("~1", "/") for member in path.split("/"))
        node = template
        for member in parents:
            node = node[int(member)] if isinstance(node, list) else node[member]
        if value is REMOVED:
            node.pop(last, None)
        elif isinstance(node, list) and int(last) == len(node):
            node.append(copy.deepcopy(value))
        elif isinstance(node, list):
            node[int(last)] = copy.deepcopy(value)
        else:
            node[last] = copy.deepcopy(value)
    return template
