"""Build the wheel and the sdist into dist/, and check both as an index and an installer would.

make dist
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from readme_renderer import markdown

from release.page import dead_links
from release.wheel import DIST, ROOT, metadata, the_wheel


def run(*command: str | Path) -> None:
    """Run a tool of this environment; say what it said only when it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"{command[0]} failed:\n{ran.stdout}{ran.stderr}")


def build() -> None:
    """The sdist, the wheel of it, and proof that the tree gives the same wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run("build", "--outdir", DIST)
    wheel = the_wheel()
    with TemporaryDirectory() as elsewhere:
        run("build", "--wheel", "--outdir", elsewhere)
        if Path(elsewhere, wheel.name).read_bytes() != wheel.read_bytes():
            sys.exit("the wheel of the sdist differs from the wheel of the tree")


def names(sdist: Path) -> set[str]:
    """The files of an sdist, from its top folder on."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def in_git() -> set[str]:
    """The files that git has; none where the tree is no checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def page_problems(wheel: Path) -> list[str]:
    """What would be wrong on the package's page of an index."""
    said = metadata(wheel)
    page = markdown.render(said.get_payload(), variant="GFM")
    if not page:
        return ["README cannot be rendered"]
    wanted = {"Homepage", "Documentation", "Repository", "Changelog", "Issues"}
    named = {url.partition(",")[0] for url in said.get_all("Project-URL", [])}
    return [f"{target} leads nowhere on an index" for target in dead_links(page)] + [
        f"the address {name} is missing" for name in sorted(wanted - named)
    ]


def main() -> None:
    """Build, check, and say what is inside."""
    build()
    wheel = the_wheel()
    sdist = DIST / f"{wheel.name.partition('-py3')[0]}.tar.gz"
    run("twine", "check", "--strict", wheel, sdist)
    run("check_wheel_contents", wheel)

    inside, tracked = names(sdist), in_git()
    problems = page_problems(wheel)
    problems += [f"the sdist lacks {name}" for name in sorted(tracked - inside)]
    if problems:
        sys.exit("\n".join(problems))

    with ZipFile(wheel) as archive:
        files = archive.namelist()
    print(f"{wheel.name}  {wheel.stat().st_size / 1024:.0f} KiB, {len(files)} files")
    print(f"{sdist.name}  {sdist.stat().st_size / 1024:.0f} KiB, {len(inside)} files:")
    for folder, count in sorted(Counter(name.partition("/")[0] for name in inside).items()):
        print(f"  {folder}{f'/  {count}' if count > 1 else ''}")
    if tracked and (new := inside - tracked - {"PKG-INFO"}):
        print(f"{len(new)} of these are not in git yet")
    print("the sdist gives the same wheel; the page of the package renders, and its links lead on")


if __name__ == "__main__":
    main()
