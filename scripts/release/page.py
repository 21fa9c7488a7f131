"""The page of the package on an index: where its links lead, and which of them lead nowhere."""

from __future__ import annotations

from html.parser import HTMLParser

ELSEWHERE = ("https://", "http://", "mailto:")


class Links(HTMLParser):
    """The links and images of a page, and what can be led to on it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Note one element."""
        for name, value in attrs:
            if name in {"href", "src"}:
                self.targets.append(value or "")
            elif name in {"id", "name"}:
                self.anchors.add(f"#{value}")


def dead_links(html: str) -> list[str]:
    """What leads nowhere on a page that stands alone."""
    links = Links()
    links.feed(html)
    return [
        target
        for target in links.targets
        if not target.startswith(ELSEWHERE) and target not in links.anchors
    ]
