"""Templates that each break one rule: the proof that the rules bite.

A breakage is a list of edits. An edit is a path into the template, members and list positions with "/" between them, and
the new value; REMOVED takes the member away.
"""

import copy

REMOVED = object()
TOKEN_ROLE = "Resources/TokenRole/Properties"
OWN = TOKEN_ROLE + "/Policies/0/PolicyDocument/Statement"
ROLE = "Resources/VendPolicy/Properties/PolicyDocument/Statement"
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
READ_POLICY, OPEN_POLICY, SIGN, LOOK = (f"{ROLE}/{position}/Fn::If/1" for position in (5, 6, 7, 8))
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
MORE_SECRETS = {"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:token-vendor/*"}
TO_QUEUE = {"OnSuccess": {"Destination": "<queue>"}}
TYPED = {"OnSuccess": {"Type": "SQS", "Destination": "arn:aws:sqs:eu-central-1:123456789012:results"}}
DEAD_LETTERS = {"Type": "SQS", "TargetArn": "arn:aws:sqs:eu-central-1:123456789012:dead"}
OWN_ACCOUNT = {"AWS": {"Ref": "AWS::AccountId"}}
BARE_LOG_GROUP = {"Type": "AWS::Logs::LogGroup", "DeletionPolicy": "Retain", "Properties": {}}
MORE_TABLES = {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${AWS::StackName}-*"}
NOTHING = {"Ref": "AWS::NoValue"}
STREAM = {"StreamViewType": "NEW_IMAGE"}
INDEX = {"IndexName": "expiry", "KeySchema": [{"AttributeName": "name", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}
ALWAYS = {"Fn::Equals": ["1", "1"]}
ITEMS = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
SHARE_ALWAYS = {"Effect": "Allow", "Action": ITEMS, "Resource": {"Fn::GetAtt": ["SharedCacheTable", "Arn"]}}
OPEN_ALWAYS = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": {"Fn::GetAtt": ["SharedCacheKey", "Arn"]}}
TABLE_NAME = "Condition/StringEquals/kms:EncryptionContext:aws:dynamodb:tableName"
WITHOUT_CACHE = (
    "${ClientSecretPrefix} ${PrefetchClients} ${LogLevel} ${MemorySize} ${Architecture} ${Tracing}"
    " ${PolicySecret} ${WebIdentityAudiences} ${FunctionUrl}"
)
WITHOUT_POLICY = WITHOUT_CACHE.replace("${PolicySecret}", "${SharedCache}")
TOO_LONG = {"Fn::Sub": WITHOUT_CACHE + 20 * " " + "${SharedCache}"}
NEVER = {"Fn::Equals": ["0", "1"]}
PERMISSION = {
    "Type": "AWS::Lambda::Permission",
    "Properties": {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "TokenFunction.Alias"},
        "Principal": "apigateway.amazonaws.com",
    },
}

BREAKS = [
    ("I-01", "an action with a wildcard", [(OWN + "/0/Action", "logs:*")]),
    ("I-01", "a wildcard resource", [(OWN + "/0/Resource", "*")]),
    ("I-01", "every log group", [(OWN + "/0/Resource", ALL_LOG_GROUPS)]),
    ("I-01", "all but one action", [(OWN + "/0/Action", REMOVED), (OWN + "/0/NotAction", "logs:DeleteLogGroup")]),
    ("I-01", "a key policy with a wildcard", [("Resources/SecretsKey/Properties/KeyPolicy/Statement/0/Action", "kms:*")]),
    ("I-01", "every action on the table", [(SHARE + "/Action", "dynamodb:*")]),
    ("I-01", "every table", [(SHARE + "/Resource", "*")]),
    ("I-01", "another use of every key", [(f"{ROLE}/9", {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "arn:aws:kms:eu-central-1:123456789012:key/*"})]),
    ("I-01", "every use of the cache's key", [(CACHE_KEY_POLICY + "/1/Action", "kms:*")]),
    ("I-02", "a role that SAM makes", [(FUNCTION + "/Role", REMOVED)]),
    ("I-02", "a managed policy", [(TOKEN_ROLE + "/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"])]),
    ("I-02", "a role that people may take", [(TOKEN_ROLE + "/AssumeRolePolicyDocument/Statement/0/Principal/AWS", "123456789012")]),
    ("I-03", "every version of a secret", [(ROLE + "/0/Condition/ForAnyValue:StringEquals", REMOVED)]),
    ("I-03", "secrets of other accounts", [(ROLE + "/0/Condition/StringEquals", REMOVED)]),
    ("I-03", "secrets beside the clients'", [(ROLE + "/0/Resource", MORE_SECRETS)]),
    ("I-03", "writing secrets", [(ROLE + "/0/Action", ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"])]),
    ("I-04", "kms:Decrypt without Secrets Manager", [(ROLE + "/1/Condition/StringEquals", REMOVED)]),
    ("I-04", "kms:Decrypt for any secret", [(ROLE + "/1/Condition/StringLike", REMOVED)]),
    ("I-04", "kms:Decrypt for the cache where there is none", [(ROLE + "/3/Fn::If/2", OPEN_ALWAYS)]),
    ("I-04", "a key for other accounts", [(KEY_USE + "/Condition/StringEquals/kms:CallerAccount", REMOVED)]),
    ("I-04", "a key for everybody", [(KEY_USE + "/Principal", {"AWS": "*"})]),
    ("I-04", "a key that another account administers", [(KEY_ADMIN + "/Principal/AWS", "arn:aws:iam::999999999999:root")]),
    ("I-04", "a key that is never rotated", [("Resources/SecretsKey/Properties/EnableKeyRotation", False)]),
    ("I-04", "a key that goes with the stack", [("Resources/SecretsKey/DeletionPolicy", "Delete")]),
    ("I-04", "kms:Decrypt of the policy without Secrets Manager", [(OPEN_POLICY + "/Condition/StringEquals", REMOVED)]),
    ("I-03", "every version of the policy", [(READ_POLICY + "/Condition/ForAnyValue:StringEquals", REMOVED)]),
    ("I-05", "signing with another key", [(SIGN + "/Resource", "arn:aws:kms:eu-central-1:123456789012:key/1")]),
    ("I-05", "signing whole messages", [(SIGN + "/Condition/StringEquals/kms:MessageType", REMOVED)]),
    ("I-05", "signing that nobody chose", [("Conditions/WithSigningKeys", ALWAYS)]),
    ("I-05", "a choice without effect", [("Conditions/WithSigningKeys", NEVER)]),
    ("I-05", "signing without looking at the key", [(ROLE + "/8", NOTHING)]),
    ("I-06", "any audience", [(PROVE + "/Condition/ForAllValues:StringEquals/sts:IdentityTokenAudience", "*")]),
    ("I-06", "no audience", [(PROVE + "/Condition/Null/sts:IdentityTokenAudience", REMOVED)]),
    ("I-06", "no tag", [(TAG + "/Condition/Null/aws:TagKeys", REMOVED)]),
    ("I-06", "any tag", [(TAG + "/Condition/ForAllValues:StringEquals/aws:TagKeys", REMOVED)]),
    ("I-06", "a token for an hour", [(PROVE + "/Condition/NumericLessThanEquals/sts:DurationSeconds", 3600)]),
    ("I-06", "a token without its tags", [(TAG, NOTHING)]),
    ("I-06", "two actions with the conditions of both", [(PROVE + "/Action", ["sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken"])]),
    ("I-06", "a role that nobody trusts", [("Conditions/WithBatchWebIdentity", {"Condition": "WithBatch"})]),
    ("I-06", "tags for any audience", [(TAG + "/Condition/ForAllValues:StringEquals/sts:IdentityTokenAudience", "*")]),
    ("I-21", "an alarm that never rings", [("Resources/FuseAlarm/Properties/ComparisonOperator", "LessThanThreshold")]),
    ("I-21", "an alarm that is late", [("Resources/DocumentAlarm/Properties/EvaluationPeriods", 100)]),
    ("else", "a function that believes every event", [(VARIABLES + "/AWS_SAM_LOCAL", "true")]),
    ("else", "servers at private addresses", [(VARIABLES + "/ALLOW_PRIVATE_ENDPOINTS", "true")]),
    ("else", "code of others in the function", [(FUNCTION + "/Layers", ["arn:aws:lambda:eu-central-1:999999999999:layer:x:1"])]),
    ("else", "a role that writes elsewhere", [(OWN + "/0/Action", ["logs:PutLogEvents", "s3:PutObject"])]),
    ("else", "a role that takes another", [(OWN + "/0/Action", ["logs:PutLogEvents", "sts:AssumeRole"])]),
    ("else", "a resource that nobody judges", [("Resources/Open", {"Type": "AWS::SecretsManager::ResourcePolicy", "Properties": {}})]),
    ("url", "a Function URL for web pages", [(URL + "/Cors", {"AllowOrigins": ["*"]})]),
    ("I-06", "proof that nobody chose", [(VARIABLES + "/WEB_IDENTITY_AUDIENCES", "https://other.example")]),
    ("I-06", "a choice without effect", [("Conditions/WithWebIdentity", NEVER)]),
    ("I-21", "no alarm for forged events", [("Resources/ForgeryAlarm", REMOVED)]),
    ("I-21", "an alarm for another function's metric", [("Resources/FuseAlarm/Properties/Namespace", "TokenVendor")]),
    ("I-21", "an alarm that nobody hears", [("Resources/AuditAlarm/Properties/AlarmActions", REMOVED)]),
    ("policy", "a mode that nobody chose", [(VARIABLES + "/POLICY_MODE", "iam")]),
    ("policy", "another secret", [(VARIABLES + "/POLICY_SECRET_ID", "other")]),
    ("policy", "a policy that cannot be read", [(ROLE + "/5", NOTHING)]),
    ("url", "a Function URL that SAM makes", [(FUNCTION + "/FunctionUrlConfig", {"AuthType": "AWS_IAM"})]),
    ("url", "an open Function URL", [(URL + "/AuthType", "NONE")]),
    ("url", "a Function URL that nobody chose", [("Conditions/WithFunctionUrl", ALWAYS)]),
    ("url", "a Function URL of API Gateway's alias", [(URL + "/Qualifier", "http")]),
    ("url", "a Function URL of no alias", [(URL + "/Qualifier", REMOVED)]),
    ("url", "a function that does not know its URL's alias", [(VARIABLES + "/URL_ALIAS", "")]),
    ("waf", "a web ACL that nobody chose", [("Resources/WebAcl/Condition", REMOVED)]),
    ("waf", "a web ACL for something else", [("Resources/WebAcl/Properties/ResourceArn", "arn:aws:apigateway:eu-central-1::/restapis/x/stages/y")]),
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
    ("I-13", "a proof in clear", [(VARIABLES + "/ENVELOPE_PROOF", "clear"), (API + "/Variables/envelopeProof", "clear")]),
    ("I-13", "another proof in the stage", [(API + "/Variables", REMOVED)]),
    ("I-13", "a secret in the environment", [(VARIABLES + "/CLIENT_SECRET", "clear")]),
    ("I-13", "a proof that can be guessed", [("Resources/EnvelopeProof/Properties/GenerateSecretString/PasswordLength", 8)]),
    ("I-13", "a proof among the clients' secrets", [("Resources/EnvelopeProof/Properties/Name", "token-vendor/clients/proof")]),
    ("I-14", "no throttling", [(SETTINGS + "/ThrottlingRateLimit", REMOVED)]),
    ("I-14", "no reserved concurrency", [(FUNCTION + "/ReservedConcurrentExecutions", REMOVED)]),
    ("I-14", "a time-out above API Gateway's", [(FUNCTION + "/Timeout", 60)]),
    ("I-15", "no authorizer", [(API + "/Auth/DefaultAuthorizer", REMOVED)]),
    ("I-15", "one open method", [(FUNCTION + "/Events/Open", OPEN_METHOD)]),
    ("I-15", "the caller's credentials", [(API + "/Auth/InvokeRole", REMOVED)]),
    ("I-15", "a second stage", [(API + "/OpenApiVersion", REMOVED)]),
    ("I-16", "a permission without a source", [("Resources/Open", PERMISSION)]),
    ("I-16", "another alias than the one that is believed", [(VARIABLES + "/HTTP_ALIAS", "other")]),
    ("I-17", "a log that is kept for ever", [("Resources/AccessLogGroup", BARE_LOG_GROUP)]),
    ("I-17", "no access log", [(API + "/AccessLogSetting", REMOVED)]),
    ("I-17", "an access log without the caller", [(API + "/AccessLogSetting/Format", '{"id": "$context.requestId"}')]),
    ("I-17", "a log that leaves", [("Resources/Filter", {"Type": "AWS::Logs::SubscriptionFilter", "Properties": {}})]),
    ("I-17", "lines that Lambda drops", [(FUNCTION + "/LoggingConfig/ApplicationLogLevel", "WARN")]),
    ("I-18", "a table under a key of AWS", [(TABLE + "/Properties/SSESpecification/KMSMasterKeyId", REMOVED)]),
    ("I-18", "a table under another's key", [(TABLE + "/Properties/SSESpecification/KMSMasterKeyId", "alias/aws/dynamodb")]),
    ("I-18", "a table that DynamoDB alone encrypts", [(TABLE + "/Properties/SSESpecification", REMOVED)]),
    ("I-18", "items that stay for ever", [(TABLE + "/Properties/TimeToLiveSpecification", REMOVED)]),
    ("I-18", "items that stay for now", [(TABLE + "/Properties/TimeToLiveSpecification/Enabled", False)]),
    ("I-18", "expiry by another attribute", [(TABLE + "/Properties/TimeToLiveSpecification/AttributeName", "ttl")]),
    ("I-18", "backups", [(TABLE + "/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", True)]),
    ("I-18", "backups left as they are", [(TABLE + "/Properties/PointInTimeRecoverySpecification", REMOVED)]),
    ("I-18", "provisioned billing", [(TABLE + "/Properties/BillingMode", "PROVISIONED")]),
    ("I-18", "billing that is left to its default", [(TABLE + "/Properties/BillingMode", REMOVED)]),
    ("I-18", "a stream", [(TABLE + "/Properties/StreamSpecification", STREAM)]),
    ("I-18", "an index", [(TABLE + "/Properties/GlobalSecondaryIndexes", [INDEX])]),
    ("I-18", "another key", [(TABLE + "/Properties/KeySchema/0/AttributeName", "id")]),
    ("I-18", "a binary key", [(TABLE + "/Properties/AttributeDefinitions/0/AttributeType", "B")]),
    ("I-18", "a table that stays after the stack", [(TABLE + "/DeletionPolicy", "Retain")]),
    ("I-18", "a table that is protected from deletion", [(TABLE + "/Properties/DeletionProtectionEnabled", True)]),
    ("I-18", "a global table", [("Resources/Global", {"Type": "AWS::DynamoDB::GlobalTable", "Properties": {}})]),
    ("cache-table", "reading the whole table", [(SHARE + "/Action", [*ITEMS, "dynamodb:Scan"])]),
    ("cache-table", "querying the table", [(SHARE + "/Action", [*ITEMS, "dynamodb:Query"])]),
    ("cache-table", "deleting the table", [(SHARE + "/Action", [*ITEMS, "dynamodb:DeleteTable"])]),
    ("cache-table", "deleting items", [(SHARE + "/Action", [*ITEMS, "dynamodb:DeleteItem"])]),
    ("cache-table", "other tables", [(SHARE + "/Resource", [{"Fn::GetAtt": ["SharedCacheTable", "Arn"]}, MORE_TABLES])]),
    ("cache-table", "a grant where there is no table", [(ROLE + "/2/Fn::If/2", SHARE_ALWAYS)]),
    ("cache-key", "the key for anything", [(SEAL + "/Condition", REMOVED)]),
    ("cache-key", "the key for another table", [(SEAL + "/Condition/StringEquals/kms:EncryptionContext:table", "other")]),
    ("cache-key", "more than sealing", [(SEAL + "/Action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt"])]),
    ("cache-key", "grants for others", [(SEAL + "/Action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant"])]),
    ("cache-key", "the table's key without DynamoDB", [(OPEN + "/Condition/StringEquals/kms:ViaService", REMOVED)]),
    ("cache-key", "the key of every table", [(f"{OPEN}/{TABLE_NAME}", REMOVED)]),
    ("cache-key", "new keys through DynamoDB", [(OPEN + "/Action", ["kms:Decrypt", "kms:GenerateDataKey"])]),
    ("cache-key", "a key for other accounts", [(CACHE_KEY_POLICY + "/1/Condition/StringEquals/kms:CallerAccount", REMOVED)]),
    ("cache-key", "a key policy without DynamoDB", [(CACHE_KEY_POLICY + "/1/Condition/StringEquals/kms:ViaService", REMOVED)]),
    ("cache-key", "a key policy for anything", [(CACHE_KEY_POLICY + "/2/Condition/StringEquals/kms:EncryptionContext:table", REMOVED)]),
    ("cache-key", "a key policy for another table", [(CACHE_KEY_POLICY + "/2/Condition/StringEquals/kms:EncryptionContext:table", "other")]),
    ("cache-key", "a table by another name than its key knows", [(TABLE + "/Properties/TableName", REMOVED)]),
    ("cache-key", "a key that is never rotated", [(CACHE_KEY + "/Properties/EnableKeyRotation", REMOVED)]),
    ("cache-key", "a key that outlives its table", [(CACHE_KEY + "/DeletionPolicy", "Retain")]),
    ("cache", "a table without permissions", [(ROLE + "/2", NOTHING)]),
    ("cache", "a table without permission to write", [(SHARE + "/Action", "dynamodb:GetItem")]),
    ("cache", "a table that its users cannot open", [(ROLE + "/3", NOTHING)]),
    ("cache", "a key that seals nothing", [(ROLE + "/4", NOTHING)]),
    ("cache", "a key that only opens", [(SEAL + "/Action", "kms:Decrypt")]),
    ("cache", "a shared cache that nobody chose", [("Conditions/WithSharedCache", ALWAYS)]),
    ("cache", "a choice without effect", [("Conditions/WithSharedCache", NEVER)]),
    ("cache", "a table and a key that nobody chose", [(TABLE + "/Condition", REMOVED), (CACHE_KEY + "/Condition", REMOVED)]),
    ("cache", "a key that nobody chose", [(CACHE_KEY + "/Condition", REMOVED)]),
    ("cache", "an alias of no key", [("Resources/SharedCacheKeyAlias/Condition", REMOVED)]),
    ("cache", "a function that knows of no table", [(VARIABLES + "/CACHE_TABLE", "")]),
    ("cache", "a function that is told of a table in vain", [(VARIABLES + "/CACHE_TABLE/Fn::If/2", "table")]),
    ("cache", "a function without the key", [(VARIABLES + "/CACHE_KMS_KEY_ID", "")]),
    ("cache", "a function that fetches nothing ahead", [(VARIABLES + "/PREFETCH_CLIENTS", "")]),
    ("batch", "a batch function that nobody chose", [("Conditions/WithBatchBus", NEVER)]),
    ("batch", "a queue without its mapping", [("Resources/BatchOrdersMapping", REMOVED)]),
    ("batch", "another bus", [(BATCH_VARIABLES + "/EVENT_BUS_NAME", "other")]),
    ("batch", "another dead-letter queue", [(BATCH_VARIABLES + "/DEAD_LETTER_QUEUE_URL", "other")]),
    ("batch", "messages that are lost", [("Resources/BatchOrders/Properties/RedrivePolicy", REMOVED)]),
    ("batch", "messages that are put aside without a reason", [("Resources/BatchOrders/Properties/RedrivePolicy/maxReceiveCount", 3)]),
    ("batch", "messages that come again too early", [("Resources/BatchOrders/Properties/VisibilityTimeout", 30)]),
    ("batch", "messages that spoil each other", [("Resources/BatchOrdersMapping/Properties/FunctionResponseTypes", REMOVED)]),
    ("batch", "events that are lost", [(BATCH + "/DeadLetterQueue", REMOVED)]),
    ("sources", "a function that believes whoever calls it", [(BATCH_VARIABLES + "/SOURCES_ALIAS", REMOVED)]),
    ("sources", "a function that believes every alias", [(BATCH_VARIABLES + "/SOURCES_ALIAS", "")]),
    ("sources", "a function that believes state machines", [(BATCH_VARIABLES + "/SOURCES_ALIAS", "jobs")]),
    ("sources", "a queue that calls as state machines do", [("Resources/BatchOrdersMapping/Properties/FunctionName", JOBS)]),
    ("sources", "a rule that calls as state machines do", [("Resources/BatchRule/Properties/Targets/0/Arn", JOBS)]),
    ("sources", "a permission for events on the state machines' alias", [("Resources/BatchRulePermission/Properties/FunctionName", JOBS)]),
    ("sources", "a schedule that calls as state machines do", [("Resources/BatchClock/Properties/Target/Arn", JOBS)]),
    ("sources", "a schedule's role that may call as state machines do", [(CLOCK_ROLE + "/0/Resource", JOBS)]),
    ("sources", "a schedule's role that may call by both aliases", [(CLOCK_ROLE + "/0/Resource", [{"Ref": "BatchSourcesAlias"}, JOBS])]),
    ("sources", "one alias for all", [(BATCH + "/AutoPublishAlias", "sources"), ("Resources/BatchSourcesAlias/Properties/Name", "jobs")]),
    ("sources", "an alias of code that is still to be published", [("Resources/BatchSourcesAlias/Properties/FunctionVersion", "$LATEST")]),
    ("sources", "a third alias", [("Resources/BatchMore", THIRD_ALIAS)]),
    ("sources", "events that are repeated as Lambda likes", [("Resources/BatchSourcesInvokeConfig", REMOVED)]),
    ("batch-role", "any queue's messages", [(TAKE + "/Resource", "arn:aws:sqs:eu-central-1:123456789012:other")]),
    ("batch-role", "deleting queues", [(TAKE + "/Action", ["sqs:ReceiveMessage", "sqs:DeleteQueue"])]),
    ("batch-role", "events in any name", [(BATCH_ROLE + "/3/Condition", REMOVED)]),
    ("batch-role", "queues for the other function", [(OWN + "/2", {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["BatchDeadLetters", "Arn"]}})]),
    ("batch-role", "calling functions", [(BATCH_ROLE + "/7", {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": {"Ref": "DirectAlias"}})]),
    ("deliver", "secrets without the tag", [(DELIVER + "/Condition/StringEquals/aws:ResourceTag~1token-vendor-managed", REMOVED)]),
    ("deliver", "deleting secrets", [(DELIVER + "/Action", ["secretsmanager:PutSecretValue", "secretsmanager:DeleteSecret"])]),
    ("deliver", "deliveries that nobody chose", [(BATCH_ROLE + "/5/Fn::If/0", "WithBatch")]),
    ("I-03", "writing clients' documents", [(BATCH_ROLE + "/7", {"Effect": "Allow", "Action": "secretsmanager:PutSecretValue", "Resource": MORE_SECRETS})]),
    ("queues", "a queue in the clear", [("Resources/BatchOrders/Properties/SqsManagedSseEnabled", REMOVED)]),
    ("queues", "a queue without TLS", [("Resources/BatchOrdersPolicy", REMOVED)]),
    ("queues", "a queue for everybody", [("Resources/BatchDeadLettersPolicy/Properties/PolicyDocument/Statement/1", {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"})]),
    ("queues", "a queue for every rule", [("Resources/BatchDeadLettersPolicy/Properties/PolicyDocument/Statement/2", {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["BatchDeadLetters", "Arn"]}})]),
    ("queues", "events that are lost", [("Resources/BatchRule/Properties/Targets/0/DeadLetterConfig", REMOVED)]),
    ("queues", "announcements that come back", [("Resources/BatchRule/Properties/EventPattern/source", REMOVED)]),
    ("queues", "the events of everybody", [("Resources/BatchRule/Properties/EventBusName", REMOVED)]),
    ("I-02", "a role for two functions", [(BATCH + "/Role", {"Fn::GetAtt": ["TokenRole", "Arn"]})]),
    ("I-11", "a place for the batch function's results", [(BATCH + "/EventInvokeConfig/DestinationConfig", TYPED)]),
    ("I-13", "a proof that the batch function does not need", [(BATCH_VARIABLES + "/ENVELOPE_PROOF", "x")]),
    ("I-14", "no reserved concurrency for the batch function", [(BATCH + "/ReservedConcurrentExecutions", REMOVED)]),
    ("I-16", "a permission for every rule", [("Resources/BatchRulePermission/Properties/SourceArn", "arn:aws:events:eu-central-1:123456789012:rule/other")]),
    ("version", "an alias of the batch function that stays", [(BATCH + "/VersionDescription", {"Fn::Sub": WITHOUT_CACHE})]),
    ("version", "an alias that does not know of the cache", [(FUNCTION + "/VersionDescription", {"Fn::Sub": WITHOUT_CACHE})]),
    ("version", "an alias that does not know of the policy", [(FUNCTION + "/VersionDescription", {"Fn::Sub": WITHOUT_POLICY})]),
    ("version", "a description that is too long", [(FUNCTION + "/VersionDescription", TOO_LONG)]),
    ("version", "an alias that keeps the old log level", [(FUNCTION + "/VersionDescription", "one for all")]),
    ("version", "a version without description", [(FUNCTION + "/VersionDescription", REMOVED)]),
]


def broken(template, edits):
    template = copy.deepcopy(template)
    for path, value in edits:
        # As in JSON pointers, ~1 stands for a slash in a name.
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
