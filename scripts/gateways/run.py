"""Write the pages of docs/gateways/ and README's table of providers.

make providers
"""

from __future__ import annotations

from gateways.pages import ROOT, pages


def main() -> None:
    """Write what differs, and name it."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
