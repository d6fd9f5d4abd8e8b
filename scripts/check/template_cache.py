"""The rules about the optional shared cache: its table, its key, and the function's permissions for both."""

import fnmatch

from template_expand import ACCOUNT
from template_read import KEY_USE, condition, environment, identity_statements, key_statements, logical, many, of, of_the_account

ACTIONS = {"dynamodb:GetItem", "dynamodb:UpdateItem"}
SEALING = {"kms:Decrypt", "kms:GenerateDataKey"}
THROUGH_DYNAMODB = ["dynamodb.eu-central-1.amazonaws.com"]


def tables(resources):
    return dict(of(resources, "AWS::DynamoDB::Table"))


def keys(resources):
    """Returns the logical names of the keys that a function's variables name, that encrypt a table, or whose policy names a table."""
    named = {logical(environment(f).get("CACHE_KMS_KEY_ID")) for _, f in of(resources, "AWS::Lambda::Function")}
    named |= {logical(table.get("SSESpecification", {}).get("KMSMasterKeyId")) for table in tables(resources).values()}
    named |= {where.split()[0] for where, s in key_statements(resources) if condition(s, "StringEquals", "kms:EncryptionContext:table")}
    return named & set(dict(of(resources, "AWS::KMS::Key")))


def table(resources):
    for name, _ in of(resources, "AWS::DynamoDB::GlobalTable"):
        yield f"{name}: no rule checks a table of this type"
    for name, properties in tables(resources).items():
        yield from (f"{name}: {problem}" for problem in table_problems(properties, set(dict(of(resources, "AWS::KMS::Key")))))
        if {resources[name].get("DeletionPolicy"), resources[name].get("UpdateReplacePolicy")} != {"Delete"}:
            yield f"{name}: outlives the stack"


def table_problems(properties, own_keys):
    encryption = properties.get("SSESpecification", {})
    if not encryption.get("SSEEnabled") or encryption.get("SSEType") != "KMS" or logical(encryption.get("KMSMasterKeyId")) not in own_keys:
        yield "is not encrypted with a key of the template"
    if properties.get("TimeToLiveSpecification") != {"AttributeName": "expires_at", "Enabled": True}:
        yield "does not delete expired items"
    # The template must state it: only then an update turns backups off after an operator turned them on.
    if properties.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": False}:
        yield "is backed up"
    if properties.get("BillingMode") != "PAY_PER_REQUEST" or "ProvisionedThroughput" in properties:
        yield "has a provisioned throughput"
    if properties.get("KeySchema") != [{"AttributeName": "name", "KeyType": "HASH"}]:
        yield "has a key other than name"
    if properties.get("AttributeDefinitions") != [{"AttributeName": "name", "AttributeType": "S"}]:
        yield "has attributes other than name, a string"
    for way in ("StreamSpecification", "KinesisStreamSpecification", "ResourcePolicy", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"):
        if way in properties:
            yield f"can be read through {way}"
    if properties.get("DeletionProtectionEnabled"):
        yield "cannot be deleted with the stack"


def table_access(resources):
    own = {f"<{name}.Arn>" for name in tables(resources)}
    for where, statement, _ in identity_statements(resources):
        # The rule wildcards checks actions with wildcards.
        actions = {a for a in many(statement.get("Action")) if a.startswith("dynamodb:") and "*" not in a}
        if statement["Effect"] != "Allow" or not actions:
            continue
        for action in sorted(actions - ACTIONS):
            yield f"{where}: {action}"
        for resource in many(statement.get("Resource")):
            if resource not in own | {"*"}:
                yield f"{where}: resource {resource}"


def key_access(resources):
    names = {f"<{name}>" for name in tables(resources)} | {properties.get("TableName") for properties in tables(resources).values()}
    own = keys(resources)
    # The rule cache-choice checks whether there should be a table.
    if not tables(resources):
        return
    for where, statement, _ in identity_statements(resources):
        if own & {logical(r) for r in many(statement.get("Resource"))}:
            yield from (f"{where}: {problem}" for problem in identity_problems(statement, names))
    for where, statement in key_statements(resources):
        if where.split()[0] in own and KEY_USE & set(many(statement.get("Action"))):
            yield from (f"{where}: {problem}" for problem in policy_problems(statement, names, roles(resources)))
    for name in sorted(own):
        properties = resources[name].get("Properties", {})
        if not properties.get("EnableKeyRotation"):
            yield f"{name}: is not rotated"
        if {resources[name].get("DeletionPolicy"), resources[name].get("UpdateReplacePolicy")} != {"Delete"}:
            yield f"{name}: outlives its table"


def identity_problems(statement, names):
    """Yields the problems of a grant to the function: for DynamoDB to open the table, or for the function to seal items."""
    actions = set(many(statement.get("Action")))
    if condition(statement, "StringEquals", "kms:ViaService") == THROUGH_DYNAMODB:
        bound, needed = "kms:EncryptionContext:aws:dynamodb:tableName", {"kms:Decrypt"}
    else:
        bound, needed = "kms:EncryptionContext:table", SEALING
    if actions - needed:
        yield f"allows {sorted(actions - needed)}"
    values = set(condition(statement, "StringEquals", bound))
    if not values or values - names:
        yield "does not require the table's name in the encryption context"


def roles(resources):
    """Returns the ARNs of the functions' roles."""
    return {f"<{name}.Arn>" for name in ("TokenRole", "BatchRole") if name in resources}


def policy_problems(statement, names, functions):
    """Yields the problems of a statement of the key's policy: for the principal that makes the table, or for the functions."""
    through = condition(statement, "StringEquals", "kms:ViaService") == THROUGH_DYNAMODB
    if of_the_account(statement):
        if condition(statement, "StringEquals", "kms:CallerAccount") != [ACCOUNT] or not through:
            yield "allows the account more than to make the table"
        return
    principal = statement.get("Principal")
    if not isinstance(principal, dict) or set(many(principal.get("AWS"))) != functions:
        yield "is not for the functions' roles"
    if through:
        values = set(condition(statement, "StringEquals", "kms:EncryptionContext:aws:dynamodb:tableName"))
        if set(many(statement.get("Action"))) != {"kms:Decrypt"} or not values or values - names:
            yield "allows the functions more than to open the table"
        return
    values = set(condition(statement, "StringEquals", "kms:EncryptionContext:table"))
    if not values or values - names:
        yield "requires neither DynamoDB nor the table's name in the encryption context"
    if set(many(statement.get("Action"))) - SEALING:
        yield "allows more than sealing"


def choice(resources):
    wanted = resources.chosen["SharedCache"] == "true"
    found = {*tables(resources), *keys(resources)}
    if wanted and not tables(resources):
        yield "there is no table although the shared cache is chosen"
    for name in sorted(found if not wanted else ()):
        yield f"{name}: exists although the shared cache is not chosen"
    for name, alias in of(resources, "AWS::KMS::Alias"):
        if logical(alias.get("TargetKeyId")) not in resources:
            yield f"{name}: exists without its key"
    for name, function in of(resources, "AWS::Lambda::Function"):
        variables = environment(function)
        if variables.get("PREFETCH_CLIENTS") != resources.chosen["PrefetchClients"]:
            yield f"{name}: PREFETCH_CLIENTS is not the value that was chosen"
        if variables.get("EXCHANGE_RATES") != resources.chosen["ExchangeRates"]:
            yield f"{name}: EXCHANGE_RATES is not the value that was chosen"
        if not wanted and (variables.get("CACHE_TABLE") or variables.get("CACHE_KMS_KEY_ID")):
            yield f"{name}: has variables for a shared cache that is not chosen"
        if wanted and variables.get("CACHE_TABLE") not in {f"<{table}>" for table in tables(resources)}:
            yield f"{name}: CACHE_TABLE is not the table"
        if wanted and variables.get("CACHE_KMS_KEY_ID") not in {f"<{key}.Arn>" for key in keys(resources)}:
            yield f"{name}: CACHE_KMS_KEY_ID is not the table's key"
    if wanted:
        yield from missing(resources)


def missing(resources):
    """Yields the permissions that the function's variables require and that it lacks."""
    for action in sorted(ACTIONS):
        if not any(allows(s, action, tables(resources)) for s in granted(resources)):
            yield f"CACHE_TABLE without {action}"
    direct = [s for s in granted(resources) if not condition(s, "StringEquals", "kms:ViaService")]
    for action in sorted(SEALING):
        if not any(allows(s, action, keys(resources)) for s in direct):
            yield f"CACHE_KMS_KEY_ID without {action}"
    through = [s for s in granted(resources) if "kms:EncryptionContext:table" not in s.get("Condition", {}).get("StringEquals", {})]
    if not any(allows(s, "kms:Decrypt", keys(resources)) for s in through):
        yield "CACHE_TABLE without kms:Decrypt for DynamoDB"


def granted(resources):
    return [statement for _, statement, _ in identity_statements(resources) if statement["Effect"] == "Allow"]


def allows(statement, action, names):
    reached = [r for r in many(statement.get("Resource")) if r == "*" or logical(r) in names]
    return bool(reached) and any(fnmatch.fnmatchcase(action, pattern) for pattern in many(statement.get("Action")))


RULES = {
    "cache-table": ("the table of the shared cache: customer key, expiry, no copies, no provisioned throughput, deleted with the stack", table),
    "cache-items": ("roles may only read and write single items of the table", table_access),
    "cache-key": ("the table's key is used through DynamoDB, or to seal for this table; it is rotated, and deleted with the table", key_access),
    "cache-choice": ("the shared cache exists only if it is chosen, and then with variables and permissions", choice),
}
