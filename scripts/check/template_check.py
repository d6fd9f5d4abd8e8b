"""Command line of the template's checks.

  template_check.py expand TEMPLATE FOLDER   writes SAM's expansion for each scenario, equal ones once
  template_check.py check TEMPLATE           applies every rule, then proves on broken templates that every rule can fail
"""

import concurrent.futures
import json
import pathlib
import sys

import template_breaks
import template_expand
import template_rules


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "expand":
        return write(arguments[1], pathlib.Path(arguments[2]))
    if len(arguments) == 2 and arguments[0] == "check":
        template = template_expand.load(arguments[1])
        return max(check(template), self_test(template))
    print(__doc__, file=sys.stderr)
    return 2


def write(path, folder):
    template = template_expand.load(path)
    written = set()
    for scenario in template_expand.SCENARIOS:
        text = json.dumps(template_expand.sam(template, scenario), indent=1)
        if text not in written:
            (folder / f"{scenario}.json").write_text(text, encoding="utf-8")
        written.add(text)
    return 0


def findings(template):
    """Returns {rule: [problem]} over all scenarios."""
    found = {rule: [] for rule in template_rules.RULES}
    for scenario in template_expand.SCENARIOS:
        resources = template_expand.expand(template, scenario)
        for rule, (_, problems) in template_rules.RULES.items():
            found[rule] += [f"{scenario}: {problem}" for problem in problems(resources)]
    return found


def check(template):
    failed = 0
    for rule, problems in findings(template).items():
        text = template_rules.RULES[rule][0]
        print(f"{'FAILED' if problems else 'ok'}: {rule} {text}")
        for problem in problems:
            print(f"  {problem}")
        failed |= bool(problems)
    return int(failed)


def start(template):
    """Gives a process of the self-test the template."""
    global unbroken
    unbroken = template


def caught_by(number):
    """Returns the rules that find one of the broken templates."""
    broken = template_breaks.broken(unbroken, template_breaks.BREAKS[number][2])
    return {name for name, problems in findings(broken).items() if problems}


def self_test(template):
    """Breaks the template in one way at a time. Exactly the rule that forbids it must find it."""
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(initializer=start, initargs=(template,)) as pool:
        for (rule, what, _), caught in zip(template_breaks.BREAKS, pool.map(caught_by, range(len(template_breaks.BREAKS)))):
            if caught != {rule}:
                failed = 1
                print(f"FAILED: self-test of {rule}, {what}: found by {sorted(caught) or 'no rule'}")
    for scenario in template_expand.SCENARIOS:
        if template_expand.sam(template, scenario) != template_expand.fresh(template, template_expand.parameters(template, scenario)):
            failed = 1
            print(f"FAILED: self-test, {scenario}: SAM makes something else of another scenario's values")
    untried = set(template_rules.RULES) - {rule for rule, _, _ in template_breaks.BREAKS}
    if untried:
        failed = 1
        print(f"FAILED: self-test has no broken template for {sorted(untried)}")
    if not failed:
        print(f"ok: self-test, {len(template_breaks.BREAKS)} broken templates, each found by its rule alone")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
