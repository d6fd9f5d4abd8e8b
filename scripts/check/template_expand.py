"""Expands the SAM template as CloudFormation would, without AWS: SAM's transform, then conditions and functions.

A value that only AWS knows gets a placeholder: a resource's reference or attribute becomes "<Logical>" or
"<Logical.Attribute>".
"""

import copy
import functools
import logging
import os
import re
import types
import warnings

# SAM asks the AWS SDK for the region; the rules expect this one.
os.environ["AWS_DEFAULT_REGION"] = "eu-central-1"
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import boto3  # noqa: E402
from samtranslator.sdk.parameter import SamParameterValues  # noqa: E402
from samtranslator.translator import translator  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

# For each transform, SAM validates its own policy templates and makes sessions of the AWS SDK to read the region. That is a
# third of the time, and the result is the same each time.
translator.make_policy_template_for_function_plugin = functools.cache(translator.make_policy_template_for_function_plugin)
boto3.session.Session = boto3.Session = functools.cache(boto3.session.Session)


# The self-test of the rules makes thousands of transforms, which take nearly all of its time. SAM reads few parameters, so that
# the results are mostly equal.
class _Values(dict):
    """The values of the parameters of a transform. read has the names that SAM has read; all of them if it has read them at once."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self):
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self):
        return list(self)

    def values(self):
        return [self[name] for name in self]

    def items(self):
        return [(name, self[name]) for name in self]

    def __deepcopy__(self, memo):
        return self.copy()

    def copy(self):
        return dict(self.items())


def _watch(values, *arguments, add=SamParameterValues.add_pseudo_parameter_values):
    add(values, *arguments)
    _made.values = values.parameter_values = _Values(values.parameter_values)


SamParameterValues.add_pseudo_parameter_values = _watch

ACCOUNT = "123456789012"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "token-vendor",
    "AWS::URLSuffix": "amazonaws.com",
}
KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

# Parameters that an operator may choose. Together the scenarios evaluate each condition as true and as false.
SCENARIOS = {
    "defaults": {},
    "shared": {
        "OtherAccounts": "210987654321,345678901234",
        "OrganizationId": "o-example1234",
        "SharedClients": "billing,orders",
        "AlarmTopicArn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:alarms",
        "LogsKeyArn": KEY,
        "PolicySecret": "token-vendor/policy",
        "SigningKeys": "true",
        "WebIdentityAudiences": "https://tenant.accounts.ondemand.com,urn:other",
        "FunctionUrl": "true",
        "WebAclArn": f"arn:aws:wafv2:eu-central-1:{ACCOUNT}:regional/webacl/name/id",
        "ApiGatewayLogRole": "existing",
    },
    "private": {
        "EndpointType": "PRIVATE",
        "VpcEndpointIds": "vpce-0123456789abcdef0,vpce-0fedcba9876543210",
        "SecretsKeyArn": KEY,
        "Tracing": "PassThrough",
        "Architecture": "x86_64",
        "PolicySecret": "team/policy",
        "ClientSecretPrefix": "team/clients/",
        "SubnetIds": "subnet-0123456789abcdef0,subnet-0fedcba9876543210",
        "SecurityGroupIds": "sg-0123456789abcdef0",
        "PrivateEndpoints": "10.0.0.0/8,fd00::/8",
        "EgressProxy": "http://proxy.example.com:3128",
        "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    },
    # With the longest value of every parameter that the description of FunctionsPolicy contains, except EgressProxy, which
    # EgressProxySecret excludes. The rule "version" knows of it.
    "cached": {
        "SharedCache": "true",
        "PrefetchClients": ",".join(["billing", "orders", 63 * "c", 63 * "d", 6 * "e"]),
        "ClientSecretPrefix": "token-vendor/" + 86 * "c" + "/",
        "PolicySecret": "token-vendor/" + 67 * "p",
        "WebIdentityAudiences": "https://" + 142 * "a",
        "ExchangeRates": "as.example.com=100,as.example.com:8443=0.5," + 52 * "h" + "=1000",
        "FunctionUrl": "false",
        "LogLevel": "error",
        "MemorySize": 10240,
        "ReservedConcurrency": 1000,
        "PrivateEndpoints": ",".join(4 * ["fd00:1111:2222:3333::/64"]),
        "EgressProxySecret": 64 * "s",
        "SubnetIds": ",".join(4 * ["subnet-0123456789abcdef0"]),
        "SecurityGroupIds": ",".join(3 * ["sg-0123456789abcdef0"]),
        "Tracing": "PassThrough",
        "Architecture": "x86_64",
    },
    "jobs": {
        "SharedCache": "true",
        "Batch": "true",
        "BatchQueue": "true",
        "BatchBus": "true",
        "BatchSchedule": "client=billing+deliver_to=token-vendor/tokens/billing+min_ttl=1200,client=orders",
        "SigningKeys": "true",
        "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "AlarmTopicArn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:alarms",
        "TicketTopicArn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:tickets",
        "Radar": "true",
        "Dashboard": "true",
        "PolicySecret": "token-vendor/policy",
    },
    "watched": {
        "SharedCache": "true", "Batch": "true", "Radar": "true", "AlarmTopicArn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:alarms",
        "ReservedConcurrency": 10, "Dashboard": "true", "RunbookUrl": "https://git.example.com/vendor/functions/README.md",
    },
    "steps": {"SharedCache": "true", "Batch": "true", "ReservedConcurrency": 7, "WebIdentityAudiences": "urn:a"},
    "proven": {"SharedCache": "true", "Batch": "true", "WebIdentityAudiences": "urn:a,urn:b", "BatchWebIdentity": "true"},
}


class NoManagedPolicies:
    """Replaces a call to IAM. The template names no managed policy."""

    def load(self):
        return {}


class Deployment(dict):
    """Maps logical names to resources. chosen maps the names of parameters to their values. template is what it was made of."""

    def __init__(self, chosen, template, scenario):
        super().__init__()
        self.chosen, self.template, self.scenario = chosen, template, scenario


class _Absent:
    """The value of AWS::NoValue."""


ABSENT = _Absent()


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file.read())


# What SAM has made of one template: pairs of the values that it read and the result. values are those of the last transform.
_made = types.SimpleNamespace(template=None, results=[], values=None)


def sam(template, scenario, **others):
    """Returns the CloudFormation template that SAM generates from template. others are values of parameters. The caller must
    not change the result: it serves all scenarios that have the values that SAM reads, which are few."""
    values = {**parameters(template, scenario), **others}
    if _made.template is not template:
        _made.template, _made.results = template, []
    for read, result in _made.results:
        if all(values.get(name) == value for name, value in read.items()):
            return result
    result = fresh(template, values)
    _made.results.append(({name: values.get(name) for name in _made.values.read}, result))
    return result


def fresh(template, values):
    """Returns the CloudFormation template that SAM generates from template with these values of parameters."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        # sam deploy uploads the folder and replaces CodeUri with its address.
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
    return transform(template, dict(values), NoManagedPolicies())


def parameters(template, scenario):
    declared = template.get("Parameters", {})
    unknown = set(SCENARIOS[scenario]) - set(declared)
    if unknown:
        raise KeyError(f"the template has no parameter {sorted(unknown)}")
    return {name: SCENARIOS[scenario].get(name, p.get("Default", "")) for name, p in declared.items()}


def expand(template, scenario, stack="token-vendor"):
    """Returns the resources that a deployment would create."""
    generated = sam(template, scenario)
    resources = Deployment(parameters(template, scenario), template, scenario)
    resolver = _Resolver(generated, {**resources.chosen, "AWS::StackName": stack})
    for name, resource in generated["Resources"].items():
        if "Condition" in resource and not resolver.condition(resource["Condition"]):
            continue
        resources[name] = resolver.value(resource)
    return resources


class _Resolver:
    def __init__(self, template, values):
        self.conditions = template.get("Conditions", {})
        self.names = {**PSEUDO, **{name: str(value) for name, value in values.items()}}

    def condition(self, name):
        return self.value(self.conditions[name])

    def value(self, node):
        if isinstance(node, list):
            items = [self.value(item) for item in node]
            return [item for item in items if item is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (key, argument), = node.items()
            function = getattr(self, "_" + key.replace("Fn::", "").lower(), None)
            if function and (key in ("Ref", "Condition") or key.startswith("Fn::")):
                return function(argument)
        members = {key: self.value(item) for key, item in node.items()}
        return {key: item for key, item in members.items() if item is not ABSENT}

    def _ref(self, name):
        return ABSENT if name == "AWS::NoValue" else self.names.get(name, f"<{name}>")

    def _condition(self, argument):
        return self.condition(argument) if isinstance(argument, str) else {"Condition": self.value(argument)}

    def _getatt(self, argument):
        return "<" + (argument if isinstance(argument, str) else ".".join(argument)) + ">"

    def _if(self, argument):
        name, yes, no = argument
        return self.value(yes if self.condition(name) else no)

    def _equals(self, argument):
        left, right = self.value(argument)
        return str(left) == str(right)

    def _not(self, argument):
        return not self.value(argument[0])

    def _and(self, argument):
        return all(self.value(item) for item in argument)

    def _or(self, argument):
        return any(self.value(item) for item in argument)

    def _join(self, argument):
        return argument[0].join(self.value(argument[1]))

    def _split(self, argument):
        return self.value(argument[1]).split(argument[0])

    def _select(self, argument):
        return self.value(argument[1])[int(argument[0])]

    def _sub(self, argument):
        text, extra = (argument, {}) if isinstance(argument, str) else argument
        extra = self.value(extra)

        def replacement(match):
            name = match.group(1)
            return str(extra.get(name, self.names.get(name, f"<{name}>")))

        return re.sub(r"\$\{([^!}]+)\}", replacement, text)
