"""Check of the internal links and anchors of a built site."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects `href`, `src`, `id` and `name`."""
        for key, value in attrs:
            if value and key in ("href", "src"):
                self.links.append(value)
            elif value and (key == "id" or (key == "name" and tag == "a")):
                self.anchors.add(value)


def broken_links(folder: Path) -> list[str]:
    """Returns one line for each internal link whose file or anchor does not exist.

    Args:
        folder: Folder of the site. All `.html` files in it are read.
    """
    folder = folder.resolve()
    paths = sorted(folder.rglob("*.html"))
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in paths}
    broken = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file():
                broken.append(f"{path.relative_to(folder)}: no file {link}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                broken.append(f"{path.relative_to(folder)}: no anchor {link}")
    return broken
