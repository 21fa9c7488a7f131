"""Whether a tag may be released: it names the version that was built, and the changelog dates it.

TAG=v1.2.3 make tag
"""

from __future__ import annotations

import os
import re
import sys

from release.wheel import ROOT, metadata, the_wheel

HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def problems(tag: str, version: str, changelog: str) -> list[str]:
    """Why this is no release; empty if it is one."""
    found = []
    if tag != f"v{version}":
        found.append(f"the tag {tag!r} is not 'v{version}', the version of the wheel")
    headings = list(HEADING.finditer(changelog))
    dated = {heading["name"] for heading in headings if heading["date"]}
    if version not in dated:
        found.append(f"CHANGELOG has no '## [{version}] - <date>'")
    if headings and headings[0]["name"] == "Unreleased":
        end = headings[1].start() if len(headings) > 1 else len(changelog)
        if changelog[headings[0].end() : end].strip():
            found.append("CHANGELOG says that something is unreleased")
    return found


def main() -> None:
    """Refuse what is no release."""
    version = str(metadata(the_wheel())["Version"])
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if found := problems(os.environ.get("TAG", ""), version, changelog):
        sys.exit("\n".join(found))
    print(f"{version} may be released")


if __name__ == "__main__":
    main()
