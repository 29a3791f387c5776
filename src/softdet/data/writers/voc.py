"""Pascal VOC: an XML file an image; pixels count from 1 and a box includes its last one."""

from __future__ import annotations

from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

from softdet.data.writers.found import FoundImage


def annotation_xml(image: FoundImage, class_names: tuple[str, ...]) -> str:
    """The XML file of an image. Corners are whole pixels, as VOC's tools want them: off by half a pixel at most."""
    name = PurePosixPath(image.name)
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = name.parent.name
    ET.SubElement(root, "filename").text = name.name
    size = ET.SubElement(root, "size")
    for key, pixels in (("width", image.size[1]), ("height", image.size[0]), ("depth", 3)):
        ET.SubElement(size, key).text = str(pixels)
    ET.SubElement(root, "segmented").text = "0"
    for corners, label, score in image:
        each = ET.SubElement(root, "object")
        ET.SubElement(each, "name").text = class_names[label]
        for key, value in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0"), ("score", f"{score:.6f}")):
            ET.SubElement(each, key).text = value
        box = ET.SubElement(each, "bndbox")
        for key, pixel in zip(("xmin", "ymin", "xmax", "ymax"), _pixels(corners, image.size), strict=True):
            ET.SubElement(box, key).text = str(pixel)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _pixels(corners: list[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and last pixel of a box, from 1; a box of less than a pixel takes one."""
    rows, columns = size
    left, top = min(round(corners[0]), columns - 1), min(round(corners[1]), rows - 1)
    return left + 1, top + 1, max(round(corners[2]), left + 1), max(round(corners[3]), top + 1)
