"""A corpus that is on every machine: what Python's own modules say about themselves."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from typing import NamedTuple

MODULES = """
argparse array ast asyncio base64 bisect bz2 calendar cmath codecs collections collections.abc
colorsys concurrent.futures configparser contextlib copy csv ctypes curses.ascii dataclasses
datetime decimal difflib dis email.message email.utils enum errno fileinput filecmp fnmatch
fractions ftplib functools gc getpass gettext glob graphlib gzip hashlib heapq hmac html
html.parser http.client http.cookies http.server imaplib inspect io ipaddress itertools json
keyword linecache locale logging logging.handlers lzma mailbox math mimetypes mmap multiprocessing
netrc numbers operator os os.path pathlib pdb pickle pkgutil platform plistlib poplib pprint
profile queue quopri random re reprlib sched secrets select selectors shelve shlex shutil signal
smtplib socket socketserver sqlite3 ssl stat statistics string struct subprocess symtable sys
sysconfig tarfile tempfile textwrap threading time timeit tokenize trace traceback types typing
unicodedata unittest unittest.mock urllib.parse urllib.request urllib.robotparser uuid venv
warnings weakref webbrowser xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipapp zipfile
zipimport zlib zoneinfo
""".split()  # noqa: SIM905  # a hundred quotes would hide the names
_SHORTEST = 40  # characters; shorter docstrings say nothing to rank


class Entry(NamedTuple):
    """A public function or class: its full name and its docstring."""

    name: str
    text: str


def entries() -> list[Entry]:
    """The documented public functions and classes of `MODULES`, each text once."""
    found: dict[str, Entry] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is read here is not used
        for module_name in MODULES:
            for entry in _entries_of(module_name):
                found.setdefault(entry.text, entry)
    return list(found.values())


def _entries_of(module_name: str) -> Iterator[Entry]:
    try:
        module = importlib.import_module(module_name)
    except ImportError:  # not every build of Python has every module
        return
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isroutine(value) or inspect.isclass(value)):
            continue
        text = inspect.getdoc(value) or ""
        if len(text) >= _SHORTEST:
            yield Entry(f"{module_name}.{name}", text)
