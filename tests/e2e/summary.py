"""Adds up the test logs of the build tool: prints what failed and "N passed, N failed".

Usage: summary.py FAILED-RUNS JUNIT-FILE…. A log that is missing, or a run that failed without a failed case in its log
(a crash, a build error), counts as one failure: nothing may pass by not being run.
"""

import os
import re
import sys
import xml.etree.ElementTree


def inside(case):
    """How many tests a passed program ran, by its own closing line; 1 where it has none."""
    text = case.findtext("system-out") or ""
    for pattern in (r"^\[  PASSED  \] (\d+) tests?\.$", r"^(\d+) passed, 0 failed"):
        found = re.findall(pattern, text, re.MULTILINE)
        if found:
            return int(found[-1])
    return 1


def failures_inside(case, name):
    """The names of a failed program's failed tests; the program's own where it does not tell."""
    text = case.findtext("system-out") or ""
    names = sorted(set(re.findall(r"^\[  FAILED  \] ([\w/]+\.[\w/]+)", text, re.MULTILINE)))
    return [f"{name}: {one}" for one in names] or [name]


def count(path):
    """(passed, names of the failed) of one log."""
    passed, failed = 0, []
    for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed += failures_inside(case, name)
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                failed.append(f"{name} (not run)")
            else:
                passed += inside(case)
    return passed, failed


def main():
    failed_runs, paths = int(sys.argv[1]), sys.argv[2:]
    passed, failed = 0, []
    for path in paths:
        if not os.path.exists(path):
            failed.append(f"{path}: no log, so nothing was run")
            continue
        good, bad = count(path)
        if good + len(bad) == 0:
            failed.append(f"{path}: no test was run")
        passed += good
        failed += bad
    if failed_runs and not failed:
        failed.append("a test run ended with an error")
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
