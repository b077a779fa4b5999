#!/usr/bin/env python3
"""What the pages name must exist.

Every link and every path in backticks or in a block of commands of docs/*.md and README.md that looks like one of this
repository; and in the tables of docs/pf-compatibility.md every row that says yes must name a test, and every test that
a row names must be there.

usage: check_links.py REPOSITORY
"""
import functools
import json
import os
import re
import sys

FOLDERS = ("app", "configs", "control", "dataplane", "docs", "lib", "scripts", "tests")
COMPATIBILITY = "docs/pf-compatibility.md"
HEADER = ["PF", "twinwall", "written here", "shown by, or why not"]
ANSWERS = ("yes", "partly", "no")
# Where a row's test may be when it does not begin at the top: `udp/a-quiet-state-expires`, `config-print/ports`.
SHORT = (("tests/scenarios/", ".yaml"), ("tests/data/", ".yaml"), ("tests/data/captures/", ".json"))


class Checker:
    def __init__(self, root):
        self.root = root
        self.problems = []
        self.checked = 0
        self.rows = dict.fromkeys(ANSWERS, 0)

    def problem(self, page, line, text):
        self.problems.append(f"{page}:{line}: {text}")

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    # One name out of a text: `lib/net`, `scripts/lab up`, `tests/e2e/test_start.py:10`, `tests/e2e/test_*.py`.
    def check_word(self, page, line, word):
        word = word.strip(".,;:()'\"")
        if word.split("/")[0] not in FOLDERS or "/" not in word:
            return
        word = re.sub(r":\d+$", "", word).split("#")[0]
        if re.search(r"[<>$…{}]", word):
            return
        self.checked += 1
        if "*" in word:
            word = word[: word.index("*")].rpartition("/")[0]
        if not self.exists(word):
            self.problem(page, line, f"there is no {word}")

    def check_link(self, page, line, target):
        if re.match(r"[a-z]+:", target):
            return
        path, _, heading = target.partition("#")
        self.checked += 1
        path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not self.exists(path):
            self.problem(page, line, f"the link leads to {path}, which is not there")
        elif heading and heading not in self.headings(path):
            self.problem(page, line, f"{path} has no heading '{heading}'")

    @functools.cache
    def headings(self, page):
        out = set()
        with open(os.path.join(self.root, page), encoding="utf-8") as file:
            for text in file:
                if text.startswith("#"):
                    slug = re.sub(r"[^\w\- ]", "", text.lstrip("#").strip().lower())
                    out.add(slug.replace(" ", "-"))
        return out

    def check_page(self, page):
        block = False
        with open(os.path.join(self.root, page), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for number, text in enumerate(lines, 1):
            if text.startswith("```"):
                block = not block
                continue
            if block:
                for word in text.split("#")[0].split():
                    self.check_word(page, number, word)
                continue
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                self.check_link(page, number, target)
            for code in re.findall(r"`([^`]+)`", text):
                for word in code.split():
                    self.check_word(page, number, word)
        return lines

    @functools.cache
    def cases(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return {c["name"] for c in json.load(file)["cases"]}

    # The file of a test as a row names it, or none. `ref-pf-cases-nat#binat` is a case of that recording.
    def test_file(self, name):
        name, _, case = name.partition("#")
        for path in [name] + [before + name + after for before, after in SHORT]:
            if path.startswith("tests/") and os.path.isfile(os.path.join(self.root, path)):
                return path if not case or case in self.cases(path) else None
        return None

    # A row is four cells between bars.
    def check_row(self, number, cells):
        feature, answer, _, shown = cells
        if answer not in ANSWERS:
            self.problem(COMPATIBILITY, number, f"'{feature}' says '{answer}': write {', '.join(ANSWERS)}")
            return
        self.rows[answer] += 1
        tests = 0
        for name in re.findall(r"`([a-z][\w.-]*[/#][\w./#-]+)`", shown):
            self.checked += 1
            if self.test_file(name) is None:
                self.problem(COMPATIBILITY, number, f"there is no test {name}")
            tests += 1
        if answer == "yes" and tests == 0:
            self.problem(COMPATIBILITY, number, f"'{feature}' says yes and names no test")
        elif not shown:
            self.problem(COMPATIBILITY, number, f"'{feature}' says {answer} and not why")

    def check_tables(self, lines):
        inside = False
        for number, text in enumerate(lines, 1):
            if not text.startswith("|"):
                inside = False
                continue
            cells = [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", text)[1:-1]]
            if cells == HEADER:
                inside = True
            elif inside and not set("".join(cells)) <= set("-: "):
                if len(cells) == len(HEADER):
                    self.check_row(number, cells)
                else:
                    self.problem(COMPATIBILITY, number, f"a row of {len(cells)} cells, not {len(HEADER)}")
        if sum(self.rows.values()) == 0:
            self.problem(COMPATIBILITY, 1, "no row was found")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    checker = Checker(sys.argv[1])
    pages = ["README.md"] + sorted(
        "docs/" + name for name in os.listdir(os.path.join(sys.argv[1], "docs")) if name.endswith(".md"))
    for page in pages:
        lines = checker.check_page(page)
        if page == COMPATIBILITY:
            checker.check_tables(lines)
    for problem in checker.problems:
        print(problem)
    rows = ", ".join(f"{n} {answer}" for answer, n in checker.rows.items())
    print(f"{len(pages)} pages, {checker.checked} names, rows: {rows}; {len(checker.problems)} problems")
    return 1 if checker.problems else 0


if __name__ == "__main__":
    sys.exit(main())
