"""What GitHub runs: the same as .ci/run, with as few rights as can be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cases import cases

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in PATHS}
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [
    pytest.param(job, id=f"{workflow}-{name}")
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PIN = re.compile(r"uses: (?P<action>[\w.-]+/[\w./-]+)@(?P<hash>[0-9a-f]{40}) # v\d+\.\d+\.\d+$")


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a job; none where another workflow does it."""
    found: list[dict[str, Any]] = job.get("steps", [])
    return found


def targets(workflow: str) -> Iterator[str]:
    """The make targets that a workflow calls."""
    for job in WORKFLOWS[workflow]["jobs"].values():
        for step in steps(job):
            for target in re.findall(r"^make (.+)$", step.get("run", ""), re.MULTILINE):
                if target == '"$TARGET"':
                    yield from job["strategy"]["matrix"]["target"]
                else:
                    yield target


def uses(name: str) -> list[str]:
    """The lines of a workflow that bring in somebody's action."""
    found = [
        line.strip().removeprefix("- ") for line in TEXTS[name].splitlines() if "uses:" in line
    ]
    return [line for line in found if not line.startswith("uses: ./")]


def test_the_same_steps_here_and_there() -> None:
    """The workflow calls each make target that .ci/run calls, and no other."""
    here = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert set(targets("ci")) == set(re.findall(r"^make (.+)$", here, re.MULTILINE))


@cases("name", WORKFLOWS)
def test_each_target_is_there(name: str) -> None:
    """A workflow calls make targets that the Makefile has."""
    assert set(targets(name)) <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@cases("name", WORKFLOWS)
def test_pins(name: str) -> None:
    """Each action is pinned by a commit's hash, and its version stands beside it."""
    assert [line for line in uses(name) if not PIN.fullmatch(line)] == []


def test_one_pin_for_an_action() -> None:
    """The workflows use one version of each action."""
    pins = {line for name in WORKFLOWS for line in uses(name)}
    assert len({line.partition("@")[0] for line in pins}) == len(pins)


def test_pythons() -> None:
    """Each matrix of Pythons is the list of Pythons in the classifiers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    matrices = {
        name: job["strategy"]["matrix"]["python"]
        for content in WORKFLOWS.values()
        for name, job in content["jobs"].items()
        if "python" in job.get("strategy", {}).get("matrix", {})
    }

    assert set(matrices) == {"test", "build", "smoke"}
    assert all(matrix == claimed for matrix in matrices.values())


@cases("name", WORKFLOWS)
def test_no_rights_by_default(name: str) -> None:
    """A workflow has no rights but those that its jobs ask for, and no two of a kind race."""
    assert WORKFLOWS[name]["permissions"] == {}
    assert "group" in WORKFLOWS[name]["concurrency"]


@cases("job", JOBS)
def test_rights_of_a_job(job: dict[str, Any]) -> None:
    """A job may read the tree or, to publish, say who it is; it ends in time."""
    assert job["permissions"] in ({}, {"contents": "read"}, {"id-token": "write"})
    assert "uses" in job or job["timeout-minutes"] <= 30


def test_only_publishing_says_who_it_is() -> None:
    """One job may publish: in an environment, after all others, and it runs no code of the tree."""
    jobs = WORKFLOWS["release"]["jobs"]
    trusted = [
        (workflow, name)
        for workflow, content in WORKFLOWS.items()
        for name, job in content["jobs"].items()
        if "id-token" in job["permissions"]
    ]

    assert trusted == [("release", "publish")]
    assert jobs["publish"]["environment"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    assert [step["uses"].partition("@")[0] for step in steps(jobs["publish"])] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_what_was_tried_is_what_is_published() -> None:
    """A release builds once; the jobs after that take what was built."""
    assert list(targets("release")) == ["dist", "tag", "smoke"]


@cases("job", JOBS)
def test_a_checkout_keeps_no_credentials(job: dict[str, Any]) -> None:
    """After a checkout no token lies in the tree."""
    for step in steps(job):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@cases("job", JOBS)
def test_no_text_from_outside_becomes_a_command(job: dict[str, Any]) -> None:
    """What a branch, a tag or a matrix is called reaches a command as a variable only."""
    assert [step["run"] for step in steps(job) if "${{" in step.get("run", "")] == []


def test_all_passed_waits_for_all() -> None:
    """The one job that a branch's rules ask for waits for each other job, and for its success."""
    jobs = WORKFLOWS["ci"]["jobs"]
    passed = jobs["passed"]

    assert passed["needs"] == [name for name in jobs if name != "passed"]
    assert passed["if"] == "always()"
    assert f'"{" ".join("success" for _ in passed["needs"])}"' in steps(passed)[0]["run"]


@cases("name", WORKFLOWS)
def test_no_host(name: str) -> None:
    """A workflow names no address: publishing needs none."""
    assert "://" not in TEXTS[name]
