"""What MkDocs does beside its own: links into the source, which a code host follows, lead to a page with that file.

`[name](../src/softdet/x.py#L61)` in a page becomes a link to line 61 of `source/softdet/x.html`, which is made here and
stands neither in the navigation nor in the search. A link to a file or a line that isn't there fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./src/(?P<file>[\w./]+\.py)(?:#L(?P<line>\d+))?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each source file that a page links to."""
    pages = [file.content_string for file in files.documentation_pages()]
    for name in sorted({found["file"] for page in pages for found in LINK.finditer(page)}):
        path = ROOT / "src" / name
        if not path.is_file():
            raise PluginError(f"a page links to src/{name}, which isn't there")
        source = path.read_text(encoding="utf-8")
        content = (
            f'---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n\n# {name}\n\n````python linenums="1"\n{source}````\n'
        )
        files.append(File.generated(config, _page_of(name), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let the links of a page lead there; MkDocs sees no ids in highlighted code, so they are written as HTML."""

    def link(found: re.Match[str]) -> str:
        target = files.get_file_from_path(_page_of(found["file"]))
        assert target is not None
        line = ""
        if found["line"]:
            if int(found["line"]) > target.content_string.count("\n"):
                raise PluginError(f"{page.file.src_uri} links to line {found['line']} of {found['file']}")
            line = f"#__codelineno-0-{found['line']}"
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", found["text"])
        return f'<a href="{target.url_relative_to(page.file)}{line}">{text}</a>'

    return LINK.sub(link, markdown)


def _page_of(name: str) -> str:
    return f"source/{Path(name).with_suffix('.md').as_posix()}"
