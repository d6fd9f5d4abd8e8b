"""Does what SAM CLI 1.164 does for "sam local invoke", without containers, for scripts/check/sam.

It reads --parameter-overrides with SAM CLI's expressions, resolves the template's functions as SAM CLI does (a reference
to a resource is its logical name, an attribute that it does not know makes the variable empty), sets only variables that
the template declares, and runs the function's binary in the local emulator. A container finds host.docker.internal in its
file of hosts; here the value of --add-host replaces the name in the variables.

Source: github.com/aws/aws-sam-cli, samcli/cli/types.py, samcli/lib/intrinsic_resolver, samcli/local/lambdafn/env_vars.py.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from samtranslator.yaml_helper import yaml_parse

HOST = "host.docker.internal"
PSEUDO = {
    "AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::StackName": "local",
    "AWS::URLSuffix": "localhost",
}
# A name and a value that ends at a space, or is in quotes.
NAME = r"""([A-Za-z0-9\"']+)"""
VALUE = r"""(\"(?:\\.|[^\"\\]+)*\"|'(?:\\.|[^'\\]+)*'|(?:\\.|[^ \"\\]+)+)"""
FORMS = [rf"(?:ParameterKey={NAME},ParameterValue={VALUE})", rf"(?:(?: ){NAME}={VALUE})"]


class Unresolved(Exception):
    pass


def overrides(words):
    values = {}
    for word in words:
        for form in FORMS:
            found = re.findall(form, " " + word.strip())
            if found:
                values.update(found)
                break
        else:
            sys.exit(f"Error: Invalid value for '--parameter-overrides': {word} is not a valid format.")
    return {unquoted(k): unquoted(v) for k, v in values.items()}


def unquoted(value):
    if value and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return value.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")


class Template:
    def __init__(self, path, parameters):
        with open(path, encoding="utf-8") as file:
            self.tree = yaml_parse(file.read())
        defaults = {k: v["Default"] for k, v in self.tree["Parameters"].items() if "Default" in v}
        self.values = {**PSEUDO, **defaults, **parameters}

    def functions(self):
        return {k: v for k, v in self.tree["Resources"].items() if v["Type"] == "AWS::Serverless::Function"}

    def ref(self, name):
        if name in self.values:
            return self.values[name]
        if self.tree["Resources"].get(name, {}).get("Type") == "AWS::Lambda::Alias":
            return self.arn(self.tree["Resources"][name]["Properties"]["FunctionName"]["Ref"])
        return name

    def arn(self, name):
        return f"arn:aws:lambda:{self.values['AWS::Region']}:{self.values['AWS::AccountId']}:function:{name}"

    def attribute(self, name, attribute):
        if attribute != "Arn":
            raise Unresolved(f"{name}.{attribute}")
        return self.arn(name)

    def condition(self, name):
        return self.resolve(self.tree["Conditions"][name])

    def resolve(self, node):
        if not isinstance(node, dict) or len(node) != 1:
            return node
        (function, value), = node.items()
        if function == "Ref":
            return self.ref(value)
        if function == "Fn::GetAtt":
            return self.attribute(*(value.split(".", 1) if isinstance(value, str) else value))
        if function == "Fn::Sub":
            return self.substitute(value)
        if function == "Fn::If":
            return self.resolve(value[1 if self.condition(value[0]) else 2])
        if function == "Fn::Join":
            return value[0].join(str(self.resolve(v)) for v in value[1])
        if function == "Condition":
            return self.condition(value)
        if function == "Fn::Equals":
            return self.resolve(value[0]) == self.resolve(value[1])
        if function == "Fn::Not":
            return not self.resolve(value[0])
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)([self.resolve(v) for v in value])
        raise Unresolved(function)

    def substitute(self, value):
        text, variables = (value, {}) if isinstance(value, str) else value
        variables = {k: self.resolve(v) for k, v in variables.items()}

        def one(match):
            name = match.group(1)
            if name in variables:
                return str(variables[name])
            logical, _, attribute = name.partition(".")
            return str(self.attribute(logical, attribute) if attribute else self.ref(logical))

        return re.sub(r"\$\{([^!}][^}]*)\}", one, text)


def variables(template, name, file):
    """Returns the environment of a function."""
    properties = template.functions()[name]["Properties"]
    declared = properties.get("Environment", {}).get("Variables", {})
    given = {}
    if file:
        with open(file, encoding="utf-8") as text:
            values = json.load(text)
        given = {**values.get("Parameters", {}), **values.get(name, {})}
    env = {
        "AWS_SAM_LOCAL": "true", "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1"),
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "defaultkey"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "defaultsecret"),
    }
    for variable, default in declared.items():
        try:
            value = template.resolve(default)
        except Unresolved:
            value = ""
        value = given.get(variable, os.environ.get(variable, value))
        env[variable] = "" if isinstance(value, (dict, list)) or value is None else str(value)
    return env


def address(value):
    """Returns the address that containers have for the host."""
    if value != "host-gateway":
        return value
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def main():
    parser = argparse.ArgumentParser(prog="sam")
    parser.add_argument("command", nargs="+")
    parser.add_argument("-e", "--event")
    parser.add_argument("-n", "--env-vars")
    parser.add_argument("--add-host", action="append", default=[])
    parser.add_argument("--parameter-overrides", nargs="*", default=[])
    parser.add_argument("--print-interrupt", action="store_true", help="for the check: print the handler of SIGINT and stop")
    parser.add_argument("--wait", type=float, help="for the check: print the addresses for containers and wait, in seconds")
    parser.add_argument("--print-parameter", help="for the check: print the value of a parameter and stop")
    parser.add_argument("--print-env", action="store_true", help="for the check: print the environment and stop")
    arguments = parser.parse_args()
    if arguments.command[:2] != ["local", "invoke"]:
        sys.exit("only sam local invoke")
    template = Template("template.yaml", overrides(arguments.parameter_overrides))
    if arguments.print_interrupt:
        print("default" if signal.getsignal(signal.SIGINT) is signal.default_int_handler else "ignored")
        return 0
    if arguments.print_parameter:
        print(template.values[arguments.print_parameter])
        return 0
    names = template.functions()
    if len(arguments.command) < 3:
        sys.exit(f"Error: You must provide a function logical ID when there are more than one functions in your template. "
                 f"Possible options in your template: {list(names)}")
    name = arguments.command[2]
    if name not in names:
        sys.exit(f"Error: Function {name} not found in template.")
    env = variables(template, name, arguments.env_vars)
    hosts = dict(pair.split(":", 1) for pair in arguments.add_host)
    if HOST in hosts:
        env = {k: v.replace(HOST, address(hosts[HOST])) for k, v in env.items()}
    if arguments.wait:
        print(env["AWS_ENDPOINT_URL"], env["EGRESS_PROXY"], flush=True)
        time.sleep(arguments.wait)
        return 0
    if arguments.print_env:
        json.dump(env, sys.stdout)
        return 0
    folder = names[name]["Properties"]["CodeUri"].rstrip("/").rsplit("/", 1)[-1]
    work = os.environ["SAM_CHECK_BINARIES"]
    with open(arguments.event, "rb") as event:
        return subprocess.run([f"{work}/emulator", "-function", name, f"{work}/{folder}"], stdin=event,
                              env={**env, "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
