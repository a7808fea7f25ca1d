"""Files that never change while the server runs: style, script, icon. Read once, kept in a map.

No path of the file system is ever made from a request, so there is nothing to climb out of. The
address has a hash of the content, so browsers may keep it for ever.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import santepacs
from santepacs.access.permissions import Permission
from santepacs.web.refusals import not_found
from santepacs.web.request import Request
from santepacs.web.routes import page

TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml; charset=utf-8",
}
ROBOTS = b"User-agent: *\nDisallow: /\n"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file and how it is served."""

    path: str
    type: bytes
    content: bytes


def templates_folder() -> Path:
    """Where templates and static files lie: in the installed package, else in the source tree."""
    installed = importlib.util.find_spec("santepacs.templates")
    if installed is not None and installed.origin is not None:
        return Path(installed.origin).parent
    return Path(santepacs.__file__).parent.parent / "templates"


class Assets:
    """All static files."""

    def __init__(self, folder: Path) -> None:
        self._by_name: dict[str, Asset] = {}
        for file in sorted(folder.iterdir()):
            if file.suffix in TYPES and file.is_file():
                content = file.read_bytes()
                mark = hashlib.sha256(content).hexdigest()[:12]
                path = f"/static/{file.stem}-{mark}{file.suffix}"
                self._by_name[file.name] = Asset(path, TYPES[file.suffix], content)
        self._by_path = {asset.path: asset for asset in self._by_name.values()}

    def path(self, name: str) -> str:
        """The address of the file `name`."""
        return self._by_name[name].path

    def at(self, path: str) -> Asset | None:
        """The file at this address."""
        return self._by_path.get(path)


class StaticPages:
    """Nothing here is about anybody."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    @page("/static/<name>", Permission.ANYBODY)
    async def static(self, request: Request, name: str) -> bytes:
        """A style, script or icon."""
        asset = self._assets.at(f"/static/{name}")
        if asset is None:
            raise not_found()
        request.setHeader(b"Content-Type", asset.type)
        request.setHeader(b"Cache-Control", b"public, max-age=31536000, immutable")
        return asset.content

    @page("/favicon.ico", Permission.ANYBODY)
    async def favicon(self, request: Request) -> bytes:
        """Browsers ask for it on their own."""
        return request.see_other(self._assets.path("icon.svg"))

    @page("/robots.txt", Permission.ANYBODY)
    async def robots(self, request: Request) -> bytes:
        """No search engine has any business here."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return ROBOTS
