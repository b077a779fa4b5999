"""Checks configs/prometheus and configs/grafana.

    check_monitoring.py EXPORTED-METRICS SOURCE-ROOT

EXPORTED-METRICS prints what a node gives out. Every metric and label that an alert or a panel asks for must be in there,
with the value where the set of values is the program's own; every expression must be one that Prometheus takes; every
alert must be fired by a series in alerts_test.yaml, and not fired by another, and say what to do.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml
from prometheus_client.parser import text_string_to_metric_families

# Labels that Prometheus puts on what it reads from a target.
TARGET_LABELS = {"instance", "job", "pair"}
# Made by Prometheus itself.
BUILT_IN = {"up": {"job"}}
# Labels whose values the program knows beforehand; the others are names from the configuration.
OWN_VALUES = {"reason", "result", "what", "limit", "direction", "family", "fate", "by", "finding", "where", "action", "protocol"}
KEYWORDS = set("and or unless by without on ignoring group_left group_right offset bool inf nan".split())

problems = []


def problem(text):
    problems.append(text)


def exported(program):
    """name → label → values, as a server would store them."""
    out = {}
    text = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = out.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return out


def used(expression):
    """(metric, [(label, operator, value)]) for each selector, and the labels that are grouped by or joined on."""
    selectors, groups = [], []
    # What is in quotes may hold anything; it is looked up by its number.
    strings = []

    def keep(match):
        strings.append(match.group(1))
        return f'"{len(strings) - 1}"'

    text = re.sub(r'"((?:[^"\\]|\\.)*)"', keep, expression)
    text = re.sub(r"\[[^\]]*\]", "", text)

    def group(match):
        groups.extend(word.strip() for word in match.group(1).split(",") if word.strip())
        return " "

    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", group, text)
    for match in re.finditer(r'([a-zA-Z_:][\w:]*)(\s*\()?(?:\s*\{([^}]*)\})?', text):
        name, call, inside = match.groups()
        if call or name in KEYWORDS or (match.start() and text[match.start() - 1].isdigit()):
            continue
        matchers = [
            (label, operator, strings[int(number)])
            for label, operator, number in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"(\d+)"', inside or "")
        ]
        selectors.append((name, matchers))
    return selectors, groups


def check_names(where, expression, metrics):
    selectors, groups = used(expression)
    if not selectors:
        problem(f"{where}: asks for no metric: {expression}")
    known = set(TARGET_LABELS)
    for name, matchers in selectors:
        if name in BUILT_IN:
            labels = dict.fromkeys(BUILT_IN[name], set())
        elif name in metrics:
            labels = metrics[name]
        else:
            problem(f"{where}: no node gives out {name}")
            continue
        known |= set(labels)
        for label, operator, value in matchers:
            if label not in labels and label not in TARGET_LABELS:
                problem(f"{where}: {name} has no label {label}")
            elif label in OWN_VALUES and "$" not in value:
                for word in value.split("|") if "~" in operator else [value]:
                    if word not in labels[label]:
                        problem(f"{where}: {name} has no {label}={word}")
    for label in groups:
        if label not in known:
            problem(f"{where}: no metric in it has the label {label}: {expression}")


def promtool(*arguments, cwd=None):
    program = shutil.which("promtool")
    if program is None:
        sys.exit("promtool is not installed; scripts/setup does it")
    done = subprocess.run([program, *arguments], cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        problem(f"promtool {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def check_alerts(path, metrics):
    alerts = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    names = [alert["alert"] for alert in alerts]
    if len(set(names)) != len(names):
        problem(f"{path.name}: an alert is there twice")
    for alert in alerts:
        where = f"{path.name}: {alert['alert']}"
        check_names(where, alert["expr"], metrics)
        if alert.get("labels", {}).get("severity") not in ("critical", "warning", "info"):
            problem(f"{where}: has no severity")
        for text in ("summary", "description"):
            if not alert.get("annotations", {}).get(text):
                problem(f"{where}: has no {text}")
    promtool("check", "rules", str(path))
    return names


def check_tests(path, alerts_path, alerts):
    """Each alert is asked for where it must fire and where it must not."""
    fires, silent = set(), set()
    for test in yaml.safe_load(path.read_text())["tests"]:
        for question in test.get("promql_expr_test", []):
            match = re.search(r'alertname="(\w+)"', question["expr"])
            (fires if question["exp_samples"] else silent).add(match.group(1))
    for what, which in (("fires", fires), ("does not fire", silent)):
        for missing in sorted(set(alerts) - which):
            problem(f"{path.name}: no series that {what} {missing}")
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(alerts_path, pathlib.Path(directory, "alerts.yaml"))
        shutil.copy(path, pathlib.Path(directory, path.name))
        promtool("test", "rules", path.name, cwd=directory)


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def check_dashboard(path, metrics):
    dashboard = json.loads(path.read_text())
    expressions = []
    variables = {"$" + variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in panels(dashboard):
        if panel["type"] != "row" and not panel.get("targets"):
            problem(f"{path.name}: panel {panel['title']} asks for nothing")
        if panel["type"] != "row" and not panel.get("description"):
            problem(f"{path.name}: panel {panel['title']} has no description")
        for target in panel.get("targets", []):
            expressions.append((panel["title"], target["expr"]))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            expressions.append((f"${variable['name']}", f"count by ({query.group(2)}) ({query.group(1)})"))
    for note in dashboard["annotations"]["list"]:
        expressions.append((note["name"], note["expr"]))
    ids = [panel["id"] for panel in panels(dashboard)]
    if len(set(ids)) != len(ids):
        problem(f"{path.name}: two panels have the same id")
    rules = []
    for number, (title, expression) in enumerate(expressions):
        where = f"{path.name}: {title}"
        for name in re.findall(r"\$\w+", expression):
            if name not in variables | {"$__rate_interval"}:
                problem(f"{where}: {name} is not defined")
        check_names(where, expression, metrics)
        rules.append({"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")})
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, f"{path.stem}.yaml")
        file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        promtool("check", "rules", str(file))
    return len(expressions)


def main():
    program, root = sys.argv[1], pathlib.Path(sys.argv[2])
    metrics = exported(program)
    # So that this test can fail: names and labels that nobody gives out are found.
    check_names("self", 'sum by (nowhere) (rate(twinwall_nothing{a="b"}[5m])) > twinwall_states{reason="x"}', metrics)
    check_names("self", 'rate(twinwall_dropped_packets_total{reason=~"match|nonsense"}[5m])', metrics)
    if len(problems) != 4:
        sys.exit(f"this test does not find what is wrong: {problems}")
    problems.clear()
    rules = root / "configs/prometheus/twinwall-alerts.yaml"
    alerts = check_alerts(rules, metrics)
    check_tests(root / "tests/monitoring/alerts_test.yaml", rules, alerts)
    count = check_dashboard(root / "configs/grafana/twinwall.json", metrics)
    for text in problems:
        print(text)
    print(f"{len(alerts)} alerts, {count} expressions of the dashboard, {len(metrics)} metrics, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
