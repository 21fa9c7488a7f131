"""Play every fault for every gateway, sync and async, and write docs/faults.md.

make faults
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from faults.case import Case
from faults.cases import CASES
from faults.page import PAGE, SLACK, page, title
from faults.play import WAYS, Outcome, play

_AT_ONCE = 6  # most of the time of a call is a pause
_DEADLINE = 60.0  # seconds, as in the client


def main() -> int:
    """Play, tell, write; the exit code says whether all is as the table has it."""
    seconds: dict[Case, float] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for case, outcomes in zip(CASES, pool.map(_played, CASES), strict=True):
            found = [problem for outcome in outcomes for problem in _problems(case, *outcome)]
            problems += found
            seconds[case] = median(outcome.seconds for _, outcome in outcomes)
            print(f"{'WRONG' if found else 'ok':5}  {seconds[case]:5.2f} s  {title(case)}")
    print("", *problems, sep="\n")
    if not problems:
        PAGE.write_text(page(seconds), encoding="utf-8")
        print(f"{len(CASES)} rows in {PAGE.name}")
    return bool(problems)


def _played(case: Case) -> list[tuple[str, Outcome]]:
    return [
        (f"{gateway}, {way}", play(case, gateway, way)) for gateway in case.gateways for way in WAYS
    ]


def _problems(case: Case, where: str, outcome: Outcome) -> list[str]:
    problems = []
    if outcome.got != case.wanted:
        problems.append(f"{title(case)} ({where}): {outcome.got}, not {case.wanted}")
    deadline = case.options.get("deadline", _DEADLINE)
    if outcome.seconds > deadline + SLACK:
        problems.append(f"{title(case)} ({where}): {outcome.seconds:.2f} s, past {deadline} s")
    return problems


if __name__ == "__main__":
    sys.exit(main())
