"""Tests of the fuzzer, with a few cases of each target."""

import numpy as np
import pytest

from tests.fuzz import mutations
from tests.fuzz.__main__ import fuzz
from tests.fuzz.runner import Runner, rng_of_case
from tests.fuzz.table import TARGETS, new_target
from tests.fuzz.targets.base import SilentlyWrong, Target

pytestmark = pytest.mark.backend_free


# Warnings of tf2onnx, which writes the model of a server.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_a_few_cases_of_each_target(name, tmp_path):
    target = new_target(name, tmp_path)
    # No time limit in tests.
    target.seconds = float("inf")
    runner = Runner(name, target, seed=1)
    for number in range(15):
        runner.run(number)
    assert sum(runner.outcomes.values()) == 15
    assert not runner.findings, runner.findings


def test_cases_are_repeated_by_seed_and_number():
    data = bytes(range(200))
    made = [mutations.mutate(data, rng_of_case(7, "kvq", number)) for number in range(50)]
    assert made == [mutations.mutate(data, rng_of_case(7, "kvq", number)) for number in range(50)]
    assert len(set(made)) > 40
    assert made != [mutations.mutate(data, rng_of_case(8, "kvq", number)) for number in range(50)]


def test_nothing_can_be_mutated():
    for number in range(50):
        mutations.mutate(b"", rng_of_case(0, "kvq", number))


class Faulty(Target):
    """Target whose cases each fail differently."""

    megabytes = 50.0

    def make(self, rng):
        self.number = getattr(self, "number", -1) + 1
        return self.number

    def run(self, case):
        if case == 0:
            raise ValueError("documented")
        if case == 1:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "a subclass is not documented")
        if case == 2:
            raise SilentlyWrong("other pixels")
        if case == 3:
            np.ones(20_000_000).sum()
        if case == 4:
            self.seconds = -1.0
        return "read"


def test_each_kind_of_finding(tmp_path):
    runner = Runner("faulty", Faulty(tmp_path), seed=0)
    for number in range(5):
        runner.run(number)
    found = [(finding["case"], finding["finding"]) for finding in runner.findings]
    assert found == [
        (1, "UnicodeDecodeError"),
        (2, "silently wrong"),
        (3, "over 50 MB"),
        (4, "over -1 s"),
    ]
    assert runner.outcomes["mutated: ValueError"] == 1
    assert runner.outcomes["mutated: read"] == 2


def test_a_process_that_dies_is_a_finding(monkeypatch, capsys):
    from tests.fuzz import __main__ as command

    answers = iter([({"outcomes": {"raw: read": 3}}, 3, "exit code -11"), ({}, None, "")])
    asked = []

    def run(*arguments):
        asked.append(arguments)
        return next(answers)

    monkeypatch.setattr(command, "_run", run)
    assert not fuzz("kvq", 5, 0, 9)
    assert asked == [("kvq", 5, 0, 9), ("kvq", 5, 4, 9)]
    assert "--target kvq --seed 5 --case 3" in capsys.readouterr().out
