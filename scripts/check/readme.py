"""Runs the blocks of code of the READMEs against a local stack, unchanged; see scripts/check/readme."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path.cwd()
# The variables that a reader has: none of these.
STRANGE = re.compile(r"^(AWS_.*|TOKEN_URL|TOKEN_STACK|ORDERS_URL|DOCUMENT|SECRETS_KEY)$")
# Blocks that cannot run here, by their first line.
NOT_HERE = {
    "go run ./scripts/local": "runs until Ctrl-C; this check starts it, and compares what it prints",
    "go test ./...": ".ci/run runs it",
    "scripts/sam build": "needs SAM CLI and AWS; scripts/check/sam has a double",
}
PACKAGES = ["@smithy/signature-v4@5.7.5", "@aws-crypto/sha256-js@5.2.0", "@aws-sdk/credential-provider-node@3.972.98"]
DOCUMENTS = ["README.md", "functions/token/README.md", "functions/batch/README.md", "shared/registry/README.md", "scripts/vendctl/README.md", "scripts/examples/README.md"]
# It has three commands for each alarm.
RUNBOOK = "functions/README.md"
POLICY = {"rules": [{"name": "all", "callers": ["aws:123456789012:user/*", "aws:123456789012:role/*", "direct:*"], "clients": ["*"]}]}
failures = 0


def report(name, problem=""):
    global failures
    failures += bool(problem)
    print(f"FAILED: {name}: {problem}" if problem else f"ok: {name}", flush=True)


def blocks(document):
    """Yields (line, language, text) of each block of code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield text.count("\n", 0, match.start()) + 2, match.group(1), match.group(2)


def token_in(output):
    """Returns whether one of the JSON objects in the output has a token."""
    decoder = json.JSONDecoder()
    start = output.find("{")
    while start >= 0:
        try:
            answer, start = decoder.raw_decode(output, start)
        except ValueError:
            start += 1
        else:
            if len(str(answer.get("access_token", ""))) > 20:
                return True
        start = output.find("{", start)
    return False


def run(command, folder, env):
    """Runs a command in a session of its own, and ends what it has left in the background."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=err, start_new_session=True)
        try:
            code = process.wait(timeout=180)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def check_block(document, line, language, text, folder, env):
    name = f"{document}:{line}"
    first = text.splitlines()[0]
    if first in NOT_HERE:
        print(f"not run: {name}: {NOT_HERE[first]}")
        return
    if document == "scripts/examples/README.md" and language != "sh":
        print(f"not run: {name}: scripts/check/examples runs it")
        return
    if language == "sh" and re.search(r"\./scripts/(vendctl|examples)", text):
        # In the repository, where the stack's reader has stack.json too.
        copy = ROOT / "stack.json"
        shutil.copy(folder / "stack.json", copy)
        code, out, err = run(["bash", "-euo", "pipefail", "-c", text], ROOT, env)
        copy.unlink()
        if (ROOT / "vendctl").exists():
            shutil.move(ROOT / "vendctl", folder / "bin" / "vendctl")
    elif language == "sh":
        # As a reader does, in a shell that has read the file of variables.
        code, out, err = run(["bash", "-euo", "pipefail", "-c", ". ./stack.env\n" + text], folder, env)
    elif language == "python":
        (folder / "call.py").write_text(text, encoding="utf-8")
        code, out, err = run(["bash", "-euc", ". ./stack.env; python3 call.py"], folder, env)
    elif language == "js":
        (folder / "call.mjs").write_text(text, encoding="utf-8")
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES], folder, env)
        code, out, err = run(["bash", "-euc", ". ./stack.env; node call.mjs"], folder, env)
    elif language == "go":
        (folder / "call.go").write_text(text, encoding="utf-8")
        code, out, err = run(["bash", "-euc", f". {folder}/stack.env; go run {folder}/call.go"], ROOT, env)
    else:
        return
    wants_token = re.search(r"TOKEN_URL|lambda invoke", text) and "dry_run" not in text
    if code:
        report(name, f"exit code {code}: {err.strip()[-300:]}")
    elif wants_token and not token_in(out):
        report(name, "no token: " + re.sub(r"eyJ[\w.-]+", "TOKEN", out.strip()[-300:]))
    elif "dry_run=true" in text and not json.loads(out).get("dry_run"):
        report(name, "no answer to a dry run")
    else:
        report(name)


def check_printed(output, env):
    """Runs the commands that the stack prints, in their order."""
    commands = [line.strip() for line in output.splitlines() if re.match(r"  (curl|AWS_ACCESS_KEY_ID=x) ", line)]
    if len(commands) < 10:
        report("printed commands", f"only {len(commands)} were found")
    for command in commands:
        name = "printed: " + re.sub(r"\s--(user|aws-sigv4|region|endpoint-url) \S+|-H x-amz-security-token:\S+", "", command)[:90]
        if "secretsmanager get-secret-value" in command:
            time.sleep(22)  # the schedule comes every 20 seconds
        code, out, err = run(["bash", "-euo", "pipefail", "-c", command], env["HOME"], env)
        if code:
            report(name, f"exit code {code}: {err.strip()[-300:]}")
        elif command.startswith("curl") and not token_in(out):
            report(name, "no token: " + re.sub(r"eyJ[\w.-]+", "TOKEN", out.strip()[-300:]))
        else:
            report(name)


def check_output(output):
    """Compares the output that README.md shows with a real one; … stands for anything."""
    shown = next(text for _, language, text in blocks("README.md") if language == "text")
    for line in shown.splitlines():
        pattern = re.escape(line).replace(re.escape("…"), ".*")
        if not re.search(f"^{pattern}$", output, re.M):
            report("README.md's output", f"the stack does not print the line {line!r}")
            return
    report("README.md's output")


def readers_files(folder, env):
    """Makes the files that the reader of shared/registry/README.md has."""
    make = """. ./stack.env; cp "$DOCUMENT" document.json
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out chain.pem -subj /CN=shop -days 1"""
    code, _, err = run(["bash", "-euc", make], folder, env)
    if code:
        report("files of the reader", err.strip()[-300:])
    env["CLIENT_ID"] = "my-client-id"


@contextlib.contextmanager
def local_stack(folder, env, *flags):
    """Runs a local stack while its output is used, and gives that."""
    printed = folder.with_suffix(".out")
    with open(printed, "w+", encoding="utf-8") as out:
        command = ["go", "run", "./scripts/local", "-env", str(folder / "stack.env"), "-json", str(folder / "stack.json"), *flags]
        stack = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
        try:
            for _ in range(900):
                if "Press Ctrl-C" in printed.read_text(encoding="utf-8"):
                    break
                if stack.poll() is not None:
                    sys.exit(printed.read_text(encoding="utf-8"))
                time.sleep(0.2)
            yield printed.read_text(encoding="utf-8")
        finally:
            stack.send_signal(signal.SIGTERM)
            stack.wait()


def check_runbook(folder, env):
    """Runs each command of the runbook once, with a stack in which nothing is broken: none may fail."""
    folder.mkdir()
    (folder / "policy.json").write_text(json.dumps(POLICY), encoding="utf-8")
    with local_stack(folder, env, "-policy", str(folder / "policy.json")):
        # Two versions of a client's secret, for a rollback.
        client = "token-vendor/clients/billing"
        make = f""". ./stack.env
aws secretsmanager put-secret-value --secret-id {client} \\
  --secret-string "$(aws secretsmanager get-secret-value --secret-id {client} --query SecretString --output text)" """
        code, _, err = run(["bash", "-euc", make], folder, env)
        if code:
            report("versions of a client", err.strip()[-300:])
        before, done = "", set()
        for line, _, text in blocks(RUNBOOK):
            for number, command in enumerate(text.splitlines(), line):
                if not command.startswith("vendctl "):
                    before += command + "\n"
                elif command not in done:
                    done.add(command)
                    code, _, err = run(["bash", "-euo", "pipefail", "-c", before + command], folder, env)
                    report(f"{RUNBOOK}:{number}: {command}", f"exit code {code}: {err.strip()[-300:]}" if code else "")
                    if command.startswith("vendctl freeze "):
                        run(["bash", "-euc", before + command.replace("freeze", "unfreeze")], folder, env)
        if len(done) < 20:
            report(RUNBOOK, f"only {len(done)} commands were found")


def main():
    work = pathlib.Path(tempfile.mkdtemp())
    # The commands must quote what a reader's directory may have.
    temp = work / "a b'c"
    temp.mkdir()
    folder = work / "run"
    (folder / "bin").mkdir(parents=True)
    env = {k: v for k, v in os.environ.items() if not STRANGE.match(k)} | {"TMPDIR": str(temp), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    try:
        with local_stack(folder, env) as output:
            check_output(output)
            check_printed(output, env)
            readers_files(folder, env)
            for document in DOCUMENTS:
                for line, language, text in blocks(document):
                    check_block(document, line, language, text, folder, env)
        check_runbook(work / "runbook", env)
    finally:
        # The stack goes on deleting its own files when "go run" has ended.
        for _ in range(100):
            shutil.rmtree(work, ignore_errors=True)
            if not work.exists():
                break
            time.sleep(0.1)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
