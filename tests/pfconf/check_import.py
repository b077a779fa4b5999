"""Imports every pf.conf of tests/data/pf-conf with `twinctl import` and compares what comes out with its .report.

    check_import.py TWINCTL SOURCE-ROOT [--write]

A report holds what was told (with exit status 2 where something has no equivalent), a line of dashes, and the rules of
the YAML that was written, which must load. The first line of a pf.conf names the interfaces of its machine. A .scenario
beside it is run with that YAML (docs/scenarios.md): the rules decide as the pf.conf meant. --write makes the reports
anew; read the difference before it is kept.
"""

import pathlib
import re
import subprocess
import sys
import tempfile


def run(*command, cwd=None):
    return subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)


def imported(twinctl, path):
    """The report of one file, and what is wrong with its scenario."""
    first = path.read_text().splitlines()[0]
    arguments = []
    if first.startswith("# interfaces:"):
        for word in first.removeprefix("# interfaces:").split():
            arguments += ["--interface", word]
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, path.stem + ".yaml")
        done = run(twinctl, "import", path.name, "-o", str(out), *arguments, cwd=path.parent)
        report = done.stderr
        if done.returncode != (2 if re.search(r"^(?!.*: note: ).+$", report, re.M) else 0):
            report += f"exit status {done.returncode}\n"
        check = run(twinctl, "check", "--print", out.name, cwd=directory)
        scenario = path.with_suffix(".scenario")
        failed = ""
        if scenario.exists():
            pathlib.Path(directory, "scenario.yaml").write_text(scenario.read_text())
            test = run(twinctl, "test", "scenario.yaml", cwd=directory)
            if test.returncode != 0 or "1 passed, 0 failed" not in test.stdout:
                failed = test.stdout + test.stderr
    report += "-" * 40 + "\n" + check.stdout
    # Warnings are about the rules, not about how they were brought over.
    errors = [line for line in check.stderr.splitlines() if ": warning: " not in line]
    if check.returncode != 0 or errors:
        report += f"does not load, {check.returncode}:\n" + "\n".join(errors) + "\n"
    return report, failed


def main():
    twinctl, root = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    write = sys.argv[3:] == ["--write"]
    files = sorted((root / "tests/data/pf-conf").glob("*.conf"))
    different = 0
    for path in files:
        want_path = path.with_suffix(".report")
        is_now, failed = imported(twinctl, path)
        if write:
            want_path.write_text(is_now)
        want = want_path.read_text() if want_path.exists() else ""
        if "does not load" in is_now or is_now != want:
            different += 1
            print(f"{path.name}: expected\n{want}but it is\n{is_now}")
        if failed:
            different += 1
            print(f"{path.name}: its scenario does not hold\n{failed}")
    print(f"{len(files)} files, {different} different")
    sys.exit(1 if different or len(files) < 60 else 0)


if __name__ == "__main__":
    main()
