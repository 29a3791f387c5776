"""CVAT for images 1.1: one XML file, whose boxes have the score as an attribute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from softdet.data.writers.found import FoundImage

# CVAT's number attributes are whole numbers, so the score is text.
_ATTRIBUTE = {"name": "score", "input_type": "text", "mutable": False, "values": [""]}


def annotations_xml(images: Iterable[FoundImage], class_names: tuple[str, ...], task: str) -> Iterator[str]:
    """The file, in pieces.

    Args:
        images: their names are those of the task's images.
        class_names: the labels, by label.
        task: its name in the file.
    """
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield f"  <meta>\n    <task>\n      <name>{escape(task)}</name>\n      <labels>\n"
    for name in class_names:
        yield (
            f"        <label>\n          <name>{escape(name)}</name>\n          <type>rectangle</type>\n"
            "          <attributes>\n            <attribute>\n              <name>score</name>\n"
            "              <mutable>False</mutable>\n              <input_type>text</input_type>\n"
            "              <default_value></default_value>\n              <values></values>\n"
            "            </attribute>\n          </attributes>\n        </label>\n"
        )
    yield "      </labels>\n    </task>\n  </meta>\n"
    for number, image in enumerate(images):
        rows, columns = image.size
        yield f'  <image id="{number}" name={quoteattr(image.name)} width="{columns}" height="{rows}">\n'
        for (x1, y1, x2, y2), label, score in image:
            yield (
                f'    <box label={quoteattr(class_names[label])} source="auto" occluded="0" z_order="0" '
                f'xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}">\n'
                f'      <attribute name="score">{score:.4f}</attribute>\n    </box>\n'
            )
        yield "  </image>\n"
    yield "</annotations>\n"


def label_constructor(class_names: tuple[str, ...]) -> str:
    """What to paste into the `Raw` tab when a CVAT task or project is made, so that it knows classes and score."""
    return json.dumps([{"name": name, "attributes": [_ATTRIBUTE]} for name in class_names], indent=2) + "\n"
