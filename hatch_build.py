"""What the page of the package says beyond pyproject.toml: addresses, and a README that finds them.

README's links are relative, so that they hold in every checkout. On a package index they would
lead nowhere: there each leads to the file of this version in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
# a span of code is passed over, unless it is in the label of a link
LINK = re.compile(
    r"`[^`\n]+`|(?P<image>!?)(?P<label>\[(?:[^\]`]|`[^`]*`)*\])\((?![a-z+]+:|#)(?P<path>[^)\s]+)"
)
REFERENCE = re.compile(r"^(?P<label>\[[^\]^]+\]:\s+)(?![a-z+]+:|#)(?P<path>\S+)", re.MULTILINE)


def absolute(markdown: str, repository: str, version: str) -> str:
    """The text with its relative links leading into the repository, at the tag of the version."""

    def link(found: re.Match[str]) -> str:
        if found["path"] is None:
            return found[0]
        kind = "raw" if found["image"] else "blob"
        address = f"{repository}/{kind}/v{version}/{found['path']}"
        return f"{found['image']}{found['label']}({address}"

    def reference(found: re.Match[str]) -> str:
        return f"{found['label']}{repository}/blob/v{version}/{found['path']}"

    parts = CODE.split(markdown)  # every second one is code, which stays as it is
    parts[::2] = [REFERENCE.sub(reference, LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


class Addresses(MetadataHookInterface):
    """Reads `repository`, the one address that pyproject.toml names."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the addresses, and README with its links."""
        repository = self.config["repository"]
        metadata["urls"] = {
            "Homepage": repository,
            "Documentation": f"{repository}/tree/main/docs",
            "Repository": repository,
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
            "Issues": f"{repository}/issues",
            "Security": f"{repository}/blob/main/SECURITY.md",
        }
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, repository, metadata["version"]),
        }
