"""The rules about deployments: parameters that survive SAM CLI and a shell, defaults that a new account accepts, stacks that do
not see each other, and what stays after a create that failed or a delete.
"""

import re

import template_expand
from template_read import condition, environment, identity_statements, many, of, opens_secrets, walk

# What Lambda does in the name of a function's role to attach the function to a VPC.
ATTACH = {
    "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
}
KEPT = ("Retain", "RetainExceptOnCreate")
# What costs money while nobody uses it.
COSTS = {"AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::Logs::LogGroup", "AWS::SQS::Queue", "AWS::SecretsManager::Secret"}
# SAM CLI ends a value of --parameter-overrides at a space, removes quotes, and reads a backslash as an escape. Shells give the
# others a meaning.
UNSAFE = " \t'\"\\\\`$;&|<>(){}[]*?!#"


def parameters_survive(resources):
    """Checks that no value of a parameter needs quotes in a shell or for SAM CLI."""
    for name, parameter in resources.template["Parameters"].items():
        if "Default" not in parameter:
            yield f"{name}: has no default"
        if parameter.get("NoEcho"):
            yield f"{name}: SAM CLI's guided deploy accepts no empty value for NoEcho"
        yield from (f"{name}: {problem}" for problem in value_problems(parameter, str(resources.chosen[name])))


def value_problems(parameter, value):
    pattern = parameter.get("AllowedPattern")
    if parameter["Type"] == "String" and not pattern and "AllowedValues" not in parameter:
        yield "accepts any value"
    if pattern and not re.fullmatch(pattern, value):
        yield "its pattern refuses a value that it is meant for"
    if len(value) > parameter.get("MaxLength", 4096):
        yield "its length refuses a value that it is meant for"
    accepted = set(value) & set(UNSAFE)
    if pattern:
        accepted |= {c for c in UNSAFE if re.fullmatch(pattern, value + c) or re.fullmatch(pattern, value + c + value)}
    if accepted:
        yield f"accepts {sorted(accepted)}, which need quotes"


def interface(resources):
    """Checks that the console shows each parameter once, under a name, in the order of the template."""
    shown = resources.template.get("Metadata", {}).get("AWS::CloudFormation::Interface", {})
    grouped = [name for group in shown.get("ParameterGroups", []) for name in group["Parameters"]]
    if grouped != list(resources.template["Parameters"]):
        yield "the groups of parameters are not the parameters in their order"
    if set(shown.get("ParameterLabels", {})) != set(grouped):
        yield "not every parameter has a name"


def first_deployment(resources):
    """Checks the defaults against what AWS documents for a new account."""
    if resources.scenario != "defaults":
        return
    for name, function in of(resources, "AWS::Lambda::Function"):
        if function.get("ReservedConcurrentExecutions"):
            yield f"{name}: reserves concurrency, which an account with a small quota refuses"
    logged = [name for name, stage in of(resources, "AWS::ApiGateway::Stage") if "AccessLogSetting" in stage]
    if logged and not of(resources, "AWS::ApiGateway::Account"):
        yield f"{logged[0]}: has an access log, which API Gateway refuses in an account without a role for logs"


def failed_create(resources):
    for name, resource in resources.items():
        if resource["Type"] in COSTS and resource.get("DeletionPolicy") == "Retain":
            yield f"{name}: costs money after a create that failed"
    # The account's setting would name a role that is gone.
    shared = [name for name in ("ApiGatewayLogsRole", "ApiGatewayAccount") if name in resources]
    for name in shared:
        if resources[name].get("DeletionPolicy") != "Retain":
            yield f"{name}: is a setting of the account, and does not stay"


def old_secrets(resources):
    """Checks that secrets under the key of a deleted stack stay readable."""
    for where, statement, _ in identity_statements(resources):
        keys = many(statement.get("Resource"))
        if opens_secrets(statement) and not any(re.fullmatch(r"arn:aws:kms:eu-central-1:\d+:key/\*", key) for key in keys):
            yield f"{where}: refuses secrets under the key of a stack that was deleted"


def names(node):
    """Yields the names of functions, tables, secrets, aliases and metrics that a value contains."""
    for key, value in walk(node):
        for text in many(value):
            if isinstance(text, str):
                yield from re.findall(r"(?:secret:|alias/(?!aws/)|table/)[\w+=.@/-]+", text)
                if key in ("FunctionName", "TableName", "Namespace", "METRICS_NAMESPACE", "NAME_PREFIX") and not text.startswith(("<", "AWS/")):
                    yield text


def stacks_are_separate(resources):
    """Compares the names of two stacks of the same parameters, in the scenario that has most kinds of names."""
    if resources.scenario != "jobs":
        return
    own = {name for resource in resources.values() for name in names(resource)}
    policy = resources.chosen["PolicySecret"]
    for where, resource in template_expand.expand(resources.template, resources.scenario, "second").items():
        common = {name for name in set(names(resource)) & own if not (policy and name.startswith("secret:" + policy))}
        if common:
            yield f"{where}: two stacks share {sorted(common)}"


def network(resources):
    chosen = resources.chosen
    subnets = [s for s in chosen["SubnetIds"].split(",") if s]
    proxy = chosen["EgressProxy"]
    if chosen["EgressProxySecret"]:
        proxy = f"{{{{resolve:secretsmanager:{chosen['EgressProxySecret']}:SecretString}}}}"
    for name, function in of(resources, "AWS::Lambda::Function"):
        variables, vpc = environment(function), function.get("VpcConfig", {})
        for variable, wanted in {"ALLOW_PRIVATE_ENDPOINTS": chosen["PrivateEndpoints"], "EGRESS_PROXY": proxy, "AWS_ENDPOINT_URL": ""}.items():
            if variables.get(variable) != wanted:
                yield f"{name}: {variable} is not what was chosen"
        groups = [g for g in chosen["SecurityGroupIds"].split(",") if g]
        if (vpc.get("SubnetIds", []), vpc.get("SecurityGroupIds", [])) != (subnets, groups):
            yield f"{name}: is not attached to the chosen subnets"
    attaching = [(s["Effect"], set(many(s.get("Action")))) for _, s, _ in identity_statements(resources) if ATTACH & set(many(s.get("Action")))]
    if attaching != ([("Allow", ATTACH), ("Deny", ATTACH)] if subnets else []):
        yield "the functions' roles cannot attach them to the VPC, or can although no VPC was chosen"
    denied = {arn for _, s, _ in identity_statements(resources) if s["Effect"] == "Deny" for arn in condition(s, "ArnEquals", "lambda:SourceFunctionArn")}
    if subnets and not {arn.rsplit(":", 1)[1] for arn in denied} >= {f["FunctionName"] for _, f in of(resources, "AWS::Lambda::Function")}:
        yield "the functions' code may change the VPC"


def boundary(resources):
    for name, role in of(resources, "AWS::IAM::Role"):
        if role.get("PermissionsBoundary", "") != resources.chosen["PermissionsBoundary"]:
            yield f"{name}: does not have the chosen permissions boundary"


def endpoint_type_deploys(resources):
    """Checks that another endpoint type brings another deployment, without which API Gateway goes on with the old one."""
    if resources.scenario != "private":
        return
    ids = set()
    for kind in ("REGIONAL", "PRIVATE"):
        generated = template_expand.sam(resources.template, resources.scenario, EndpointType=kind)["Resources"]
        ids |= {name for name, resource in generated.items() if resource["Type"] == "AWS::ApiGateway::Deployment"}
    if len(ids) != 2:
        yield "another EndpointType makes no deployment of the API"


RULES = {
    "parameters": ("every parameter has a default, and no value needs quotes in a shell or for SAM CLI", parameters_survive),
    "interface": ("the console shows each parameter under a name, in the order of the template", interface),
    "first-deployment": ("the defaults deploy in a new account", first_deployment),
    "failed-create": ("a create that failed leaves nothing that costs money, and no setting without its role", failed_create),
    "old-secrets": ("a new stack reads the secrets of a deleted one", old_secrets),
    "stacks": ("two stacks in one account share no names", stacks_are_separate),
    "network": ("subnets, proxy and private addresses are the chosen ones, and AWS is at its own addresses", network),
    "boundary": ("every role has the chosen permissions boundary", boundary),
    "redeploy": ("another endpoint type makes a deployment of the API", endpoint_type_deploys),
}
