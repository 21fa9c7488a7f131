"""Install the wheel in dist/ without extras and with each of them, and let each rank something.

make smoke
"""

from __future__ import annotations

import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from release.wheel import ROOT, metadata, the_wheel

CHECK = ROOT / "tests" / "installed.py"
BARE = ""
TOGETHER = 2  # one installs while another imports


def python_in(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def smoke(wheel: Path, extra: str) -> tuple[bool, str]:
    """Whether the wheel, installed with an extra and nothing else, works; and what it said."""
    wanted = f"rerank-integrations{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
    with TemporaryDirectory(prefix="smoke-") as folder:
        venv.create(folder, with_pip=False)
        python = python_in(Path(folder))
        # this environment's pip installs into the other, which then holds nothing but the wheel
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        check = [str(python), "-I", str(CHECK), *([extra] if extra else [])]
        said = ""
        for command in ([*install, "--no-compile", wanted], check):
            ran = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            if ran.returncode:
                return False, f"{extra or 'bare'}: does not work as installed\n{ran.stdout}"
            said = ran.stdout.strip()
        return True, said


def main(chosen: list[str]) -> None:
    """Try the environments that are chosen by an extra's name, or the bare one and all others."""
    wheel = the_wheel()
    extras = chosen or [BARE, *metadata(wheel).get_all("Provides-Extra", [])]
    works = True
    with ThreadPoolExecutor(max_workers=TOGETHER) as pool:
        for one_works, said in pool.map(partial(smoke, wheel), extras):
            print(said, flush=True)
            works = works and one_works
    sys.exit(not works)


if __name__ == "__main__":
    main(sys.argv[1:])
