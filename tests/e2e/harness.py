"""Runs a file of end-to-end tests and reports in TAP, which the build tool understands; one line a test.

A test file ends with `harness.main()`. Its cases derive from LabCase: one lab and one or two nodes for all tests of the
class. When a test fails, the tail of both daemons' logs follows as a comment.
"""

import os
import sys
import time
import traceback
import unittest

import lab as lab_module
from lab import Lab


def twinwalld():
    """The daemon under test."""
    return os.path.join(lab_module.BUILD, "app", "twinwalld")


class LabCase(unittest.TestCase):
    """Brings up a lab for the class. `nodes` says which daemons run: "pair", "single" (fw1 alone, master) or "none"."""

    nodes = "pair"
    lab: Lab

    @classmethod
    def change(cls, config, node):
        """Override to alter a node's configuration before it starts."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.down)
        cls.lab.up()
        try:
            if cls.nodes == "pair":
                cls.lab.start_pair(cls.change)
            elif cls.nodes == "single":
                config = cls.lab.fw1.default_config()
                cls.change(config, cls.lab.fw1)
                cls.lab.fw1.write_config(config)
                cls.lab.fw1.start()
                cls.lab.fw1.wait_role("MASTER")
        except lab_module.LabError as error:
            raise lab_module.LabError(f"{error}\n{cls.lab.logs()}") from error

    @property
    def fw1(self):
        return self.lab.fw1

    @property
    def fw2(self):
        return self.lab.fw2


class TapResult(unittest.TestResult):
    """Prints "ok"/"not ok" lines as the tests end."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self._started = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()

    def _line(self, test, passed, detail=""):
        self.number += 1
        name = test.id().removeprefix("__main__.") if hasattr(test, "id") else str(test)
        took = time.monotonic() - self._started
        print(f"{'ok' if passed else 'not ok'} {self.number} - {name.replace('#', '')}", flush=True)
        print(f"# {took:.1f} s", flush=True)
        for line in detail.splitlines():
            print(f"# {line}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line(test, True)

    def _failed(self, test, error):
        detail = "".join(traceback.format_exception(*error))
        case = getattr(type(test), "lab", None)
        if case is not None:
            detail += case.logs()
        self._line(test, False, detail)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(subtest, err)


def main():
    reason = lab_module.missing_requirement()
    if reason is not None:
        print(f"Bail out! {reason}")
        sys.exit(1)
    lab_module.end_on_signals()
    loader = unittest.TestLoader()
    if len(sys.argv) > 1:
        loader.testNamePatterns = [f"*{pattern}*" for pattern in sys.argv[1:]]
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = TapResult()
    suite.run(result)
    print(f"1..{result.number}")
    if result.number == 0:
        print("Bail out! no test of that name")
    sys.exit(0 if result.number and result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
