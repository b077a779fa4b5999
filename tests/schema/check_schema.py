"""The schema that `twinctl schema` prints takes every configuration that the loader takes, and finds misspelt keys.

Usage: check_schema.py TWINCTL REPOSITORY
"""

import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.2's idea of plain values, as editors have it: 'on' is a text, 0x1f and 22 are numbers, 1:2 is none."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(true|false)$", "tf"),
    ("null", r"^(~|null|)$", ["~", "n", ""]),
    ("int", r"^[-+]?([0-9]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?[0-9]+\.[0-9]+$", list("-+0123456789")),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


def loads(twinctl, path):
    return subprocess.run([twinctl, "check", path], capture_output=True, check=False).returncode == 0


def configurations(root):
    yield from sorted((root / "configs").glob("*.yaml"))
    for folder in ("tests/data", "tests/scenarios", "tests/fuzz/corpus/config"):
        yield from sorted((root / folder).rglob("*.yaml"))


def documents(root):
    """Every configuration: files of their own, and those inside scenarios."""
    for path in configurations(root):
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader)
        except (yaml.YAMLError, UnicodeDecodeError, ValueError):
            continue
        if not isinstance(document, dict):
            continue
        if "interfaces" in document or "rules" in document:
            yield path, document, True
        elif isinstance(document.get("config"), dict):
            yield path, document["config"], False


def main():
    twinctl, root = sys.argv[1], pathlib.Path(sys.argv[2])
    schema = json.loads(subprocess.run([twinctl, "schema"], capture_output=True, check=True).stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    failed = checked = refused = 0
    for path, document, whole in documents(root):
        wrong = sorted(validator.iter_errors(document), key=lambda e: list(map(str, e.path)))
        if whole and not loads(twinctl, path):
            refused += bool(wrong)
            continue
        if not whole and path.stem.startswith("refused"):
            continue
        checked += 1
        for error in wrong[:3]:
            failed += 1
            where = "/".join(map(str, error.path))
            print(f"{path.relative_to(root)}: {where}: {error.message[:200]}")
    for document, place in (
        ({"interfaces": {"lan": {"prot": "kernel:lan"}}}, "a key of an interface"),
        ({"interfaces": {}, "rulse": []}, "a section"),
        ({"interfaces": {}, "rules": [{"action": "pas"}]}, "a word"),
        ({"interfaces": {}, "rules": [{"action": "pass", "rdr-too": "10.0.0.1"}]}, "a key of a rule"),
        ({"interfaces": {}, "carp": {"groups": [{"vhid": 256, "interface": "lan", "addresses": []}]}}, "a number"),
        ({"interfaces": {}, "anchors": {"a": {"rules": [{"acton": "pass"}]}}}, "a key of a rule in an anchor"),
    ):
        if validator.is_valid(document):
            failed += 1
            print(f"the schema does not find what is wrong: {place}")
    print(f"{checked} configurations fit the schema; of those that the loader refuses it finds {refused}")
    if checked < 60:
        print("too few configurations were found")
        failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
