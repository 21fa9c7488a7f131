"""Runs the command line: `python -m rerank_integrations` is `rerank`."""

from __future__ import annotations

from rerank_integrations.cli import main

if __name__ == "__main__":
    main()
