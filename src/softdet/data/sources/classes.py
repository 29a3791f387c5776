"""One list of classes over all splits, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softdet.data.sources.parts import Tally


def with_one_class_list(contents: Sequence[dict[str, Any]], noted: Tally) -> list[dict[str, Any]]:
    """Give all splits the same categories.

    Args:
        contents: COCO contents; the first one's ids and order stay.
        noted: counts what was changed.

    Returns:
        The contents with the same `categories`, of which no two share a name; annotations lead to the same names as
        before.
    """
    id_of: dict[str, Any] = {}
    categories: list[dict[str, Any]] = []
    translations = []
    for content in contents:
        used = {annotation["category_id"] for annotation in content["annotations"]}
        translation: dict[Any, Any] = {}
        # Of two with one name the one with boxes gives its id.
        for category in sorted(content["categories"], key=lambda each: each["id"] not in used):
            name = str(category["name"]).strip()
            if name not in id_of:
                taken = {each["id"] for each in categories}
                number = category["id"] if category["id"] not in taken else _next_id(taken)
                id_of[name] = number
                categories.append({**category, "id": number, "name": name})
            elif id_of[name] in translation.values():
                noted.add("categories of the same name became one", name)
            translation[category["id"]] = id_of[name]
        translations.append(translation)
    _note_look_alikes(list(id_of), noted)
    # Numbers and text don't compare with each other.
    categories.sort(key=lambda each: (isinstance(each["id"], str), each["id"]))
    return [
        {
            **content,
            "categories": categories,
            "annotations": [_translated(each, translation) for each in content["annotations"]],
        }
        for content, translation in zip(contents, translations, strict=True)
    ]


def _translated(annotation: dict[str, Any], translation: dict[Any, Any]) -> dict[str, Any]:
    return {**annotation, "category_id": translation[annotation["category_id"]]}


def _next_id(taken: set[Any]) -> int:
    return max((number for number in taken if isinstance(number, int)), default=0) + 1


def _note_look_alikes(names: list[str], noted: Tally) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            noted.add("class names differ in capital letters alone: are they one class?", f"{other} and {name}")
