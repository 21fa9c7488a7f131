"""The wheel in dist/, and what it says about itself."""

from __future__ import annotations

import sys
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


def the_wheel() -> Path:
    """The one wheel that was built."""
    wheels = list(DIST.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"dist/ holds {len(wheels)} wheels; run: make dist")
    return wheels[0]


def metadata(wheel: Path) -> Message:
    """Its METADATA: the fields, and README as the payload."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))
