"""Reads properties, statements and conditions from the resources that template_expand.expand returns."""

import re

from template_expand import ACCOUNT

# The actions that encrypt or decrypt with a key, or that allow others to do so.
KEY_USE = {
    "kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom", "kms:ReEncryptTo",
}


def of(resources, kind):
    """Returns (logical name, properties) of the resources of one type."""
    return [(name, r.get("Properties", {})) for name, r in resources.items() if r["Type"] == kind]


def many(value):
    """Returns a list, because CloudFormation and IAM accept one value in place of a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def logical(reference):
    """Returns the logical name in "<Logical>" or "<Logical.Attribute>", and any other text unchanged."""
    return re.sub(r"^<(\w+)(\.\w+)?>$", r"\1", str(reference))


def walk(node):
    """Yields each (key, value) pair at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from walk(item)


def trusted(role):
    """Returns the services that may assume a role."""
    statements = many(role.get("AssumeRolePolicyDocument", {}).get("Statement"))
    return {service for s in statements for service in many(s.get("Principal", {}).get("Service"))}


def identity_statements(resources):
    """Yields (where, statement, services that may assume the role) for every statement of an identity policy."""
    for name, role in of(resources, "AWS::IAM::Role"):
        for policy in many(role.get("Policies")):
            for statement in many(policy["PolicyDocument"]["Statement"]):
                yield f"{name} {statement.get('Sid', '')}", statement, trusted(role)
    for kind in ("AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"):
        for name, policy in of(resources, kind):
            for statement in many(policy["PolicyDocument"]["Statement"]):
                yield f"{name} {statement.get('Sid', '')}", statement, set()


def key_statements(resources):
    for name, key in of(resources, "AWS::KMS::Key"):
        for statement in many(key["KeyPolicy"]["Statement"]):
            yield f"{name} {statement.get('Sid', '')}", statement


def of_the_account(statement):
    """Reports whether the principal is this account, whose identity policies then say who may."""
    return statement.get("Principal") == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


def opens_secrets(statement):
    """Reports whether conditions limit a statement to the encryption of the secrets that they name, whatever their key."""
    through = condition(statement, "StringEquals", "kms:ViaService") == ["secretsmanager.eu-central-1.amazonaws.com"]
    return through and all(":secret:" in arn for arn in condition(statement, "StringLike", "kms:EncryptionContext:SecretARN") or ["*"])


def api_statements(resources):
    for name, api in of(resources, "AWS::ApiGateway::RestApi"):
        for statement in many(api["Body"].get("x-amazon-apigateway-policy", {}).get("Statement")):
            yield f"{name} {statement.get('Sid', '')}", statement


def condition(statement, operator, key):
    return many(statement.get("Condition", {}).get(operator, {}).get(key))


def client_secret_prefix(function):
    """Returns the prefix that a function derives from its variables."""
    variables = environment(function)
    return variables.get("CLIENT_SECRET_PREFIX") or f"{variables.get('NAME_PREFIX')}/clients/"


def environment(function):
    return function.get("Environment", {}).get("Variables", {})
