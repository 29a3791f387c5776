"""XML formats: Pascal VOC's many dialects, CVAT's shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labeled_sets import boxes_of, random_content, write_picture, write_text, write_voc

from softdet.data.sources.parts import Tally
from softdet.data.sources.reading import Labeled, read_labeled
from softdet.data.sources.voc import read_voc
from softdet.errors import DataError

SIZE = "<size><width>100</width><height>80</height></size>"


def voc_object(box: str = "11 11 30 30", name: str = "cat", more: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>"


def voc(root: Path, *objects: str, size: str = SIZE, name: str = "a.png", folder: str = "") -> Path:
    write_picture(root / folder / "a.png", (100, 80))
    inside = f"<filename>{name}</filename>{size}{''.join(objects or (voc_object(),))}"
    write_text(root / folder / "a.xml", f"<annotation>{inside}</annotation>")
    return root


def boxes(labeled: Labeled) -> Any:
    return boxes_of(labeled.parts["train"])["a.png"]


@pytest.mark.parametrize("encoding", ["gb2312", "no-such-one"])
def test_an_encoding_that_cannot_be_read_is_named_with_its_file(encoding: str, tmp_path: Path) -> None:
    file = voc(tmp_path) / "a.xml"
    write_text(file, f'<?xml version="1.0" encoding="{encoding}"?>{file.read_text()}')
    with pytest.raises(DataError, match=r"a\.xml: its first line names an encoding that can't be read .*UTF-8"):
        read_labeled(tmp_path)


@pytest.mark.parametrize("size", [SIZE, "", "<size><width>0</width><height>0</height></size>"])
def test_the_size_may_be_missing(size: str, tmp_path: Path) -> None:
    labeled = read_labeled(voc(tmp_path, size=size))
    assert boxes(labeled) == [("cat", [10, 10, 20, 20])]
    assert labeled.parts["train"]["images"][0]["width"] == 100


def test_a_size_that_is_another_one_drops_the_image(tmp_path: Path) -> None:
    voc(tmp_path, size="<size><width>200</width><height>160</height></size>")
    voc(tmp_path, folder="good")
    assert read_labeled(tmp_path).dropped.rows() == [
        ("images whose file has another size than their labels say", 1, ("a.png: 100x80, labels 200x160",))
    ]


@pytest.mark.parametrize("first", ["0 5 9 9", "5 0 9 9", "1.5 5 9 9"])
def test_one_box_at_zero_or_between_pixels_tells_that_the_tool_counted_from_zero(first: str, tmp_path: Path) -> None:
    labeled = read_labeled(voc(tmp_path, voc_object(first), voc_object("11 11 30 30")))
    assert ("cat", [11, 11, 19, 19]) in boxes(labeled)
    assert not labeled.noted.counts


def test_difficult_objects_become_ignored_regions(tmp_path: Path) -> None:
    content = read_labeled(voc(tmp_path, voc_object(more="<difficult>1</difficult>"), voc_object())).parts["train"]
    assert [each.get("ignore") for each in content["annotations"]] == [1, None]


def test_files_are_paired_by_their_own_name_where_the_one_inside_is_older(tmp_path: Path) -> None:
    labeled = read_labeled(voc(tmp_path, name="before_renaming.jpg"))
    assert len(boxes(labeled)) == 1
    assert "label files that state another image's name were paired by their own" in labeled.noted.counts


def test_an_image_of_another_stem_is_found_by_the_name_inside(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "a.xml").rename(tmp_path / "labels_of_a.xml")
    assert len(boxes(read_labeled(tmp_path))) == 1


def test_between_two_images_of_a_name_the_one_beside_is_taken(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        voc(tmp_path, voc_object(name=split), folder=split)
    parts = read_labeled(tmp_path).parts
    for split, name in (("train", "train"), ("valid", "valid")):
        assert boxes_of(parts[split])["a.png"][0][0] == name
        assert Path(parts[split]["images"][0]["file_name"]).parent.name == split


def test_voc_images_without_labels_are_left_out_and_so_are_labels_without_images(tmp_path: Path) -> None:
    voc(tmp_path)
    write_picture(tmp_path / "b.png", (10, 10))
    write_text(tmp_path / "c.xml", f"<annotation>{voc_object()}</annotation>")
    assert {row[:2] for row in read_labeled(tmp_path).dropped.rows()} == {
        ("label files without an image", 1),
        ("images without a label file (they will do as unlabeled ones)", 1),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation>\n<object", r"a.xml:2: no XML from here on .* Was the file cut off"),
        ("<annotation><object></object></annotation>", r"a.xml: object 1 has no <name>"),
        ("<annotation></annotation>", "1 Pascal VOC files and not one object in them"),
        ("<rss></rss>", "no labels were found here; found 1 images, 1 .xml"),
    ],
)
def test_bad_voc_files(text: str, said: str, tmp_path: Path) -> None:
    voc(tmp_path)
    write_text(tmp_path / "a.xml", text)
    # A file that is cut off is no format, unless another one tells it.
    if "cut off" in said:
        write_text(tmp_path / "b.xml", f"<annotation>{voc_object()}</annotation>")
    with pytest.raises(DataError, match=said):
        read_labeled(tmp_path)


def test_voc_without_its_images(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"none of their images is below this folder; for .*a.xml it would be a.png"):
        read_labeled(tmp_path)


def test_a_box_without_numbers_is_counted(tmp_path: Path) -> None:
    labeled = read_labeled(voc(tmp_path, voc_object(), "<object><name>cat</name></object>"))
    assert boxes(labeled) == [("cat", [10, 10, 20, 20])]
    assert labeled.dropped.rows()[0] == (
        "boxes that are not four finite numbers",
        1,
        (f"{tmp_path / 'a.xml'}: object 2",),
    )


def cvat(root: Path, *shapes: str) -> Path:
    write_picture(root / "images" / "a.png", (100, 80))
    image = f'<image id="0" name="a.png" width="100" height="80">{"".join(shapes)}</image>'
    labels = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
    return write_text(root / "annotations.xml", f"<annotations>{labels}{image}</annotations>")


BOX = 'label="cat" xtl="10" ytl="10" xbr="30" ybr="20"'


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (f"<box {BOX}><attribute name='age'>3</attribute></box>", [10, 10, 20, 10]),
        (f'<box {BOX} rotation="90"/>', [15, 5, 10, 20]),
        (f'<box {BOX} rotation="180"/>', [10, 10, 20, 10]),
        ('<polygon label="cat" points="10,10;30,15;20,40"/>', [10, 10, 20, 30]),
        ('<ellipse label="cat" cx="50" cy="40" rx="20" ry="10"/>', [30, 30, 40, 20]),
        ('<ellipse label="cat" cx="50" cy="40" rx="20" ry="10" rotation="90"/>', [40, 20, 20, 40]),
        ('<mask label="cat" rle="1,2" left="3" top="4" width="5" height="6"/>', [3, 4, 5, 6]),
    ],
)
def test_a_cvat_shape_has_the_box_around_it(shape: str, box: list[float], tmp_path: Path) -> None:
    content = read_labeled(cvat(tmp_path, shape)).parts["train"]
    (found,) = boxes_of(content)["a.png"]
    assert found[0] == "cat"
    assert found[1] == pytest.approx(box, abs=1e-3)
    # The order of the project, and a class without a shape stays.
    assert [category["name"] for category in content["categories"]] == ["dog", "cat"]


def test_a_box_turned_by_an_odd_angle() -> None:
    from xml.etree import ElementTree

    from softdet.data.sources.cvat import _box

    corners = _box(ElementTree.fromstring('<box xtl="10" ytl="10" xbr="30" ybr="30" rotation="45"/>'))
    half = 10 * 2**0.5
    assert corners == pytest.approx((20 - half, 20 - half, 20 + half, 20 + half))


def test_shapes_without_extent_and_boxes_out_of_sight(tmp_path: Path) -> None:
    points = '<points label="cat" points="1,1"/>'
    labeled = read_labeled(cvat(tmp_path, f"<box {BOX}/>", f'<box {BOX} outside="1"/>', points))
    assert len(boxes(labeled)) == 1
    assert labeled.dropped.rows()[0][:2] == ("shapes without an extent (points, lines, tags, cuboids)", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotations><track id='0'></track></annotations>", "tracks of a video. Export .*CVAT for images 1.1"),
        ("<annotations><image id='0' name='a.png'/></annotations>", "1 images and not one box in it"),
        (f"<annotations><image name='b.png'><box {BOX}/></image></annotations>", "none is below .*Save images"),
    ],
)
def test_bad_cvat_files(text: str, said: str, tmp_path: Path) -> None:
    file = cvat(tmp_path)
    write_text(file, text)
    with pytest.raises(DataError, match=said):
        read_labeled(file)


@pytest.mark.parametrize(("train", "valid"), [("Train", "Validation"), ("train", "validation"), ("trainval", "test")])
def test_vocs_lists_may_be_called_as_the_subsets_of_other_tools(tmp_path: Path, train: str, valid: str) -> None:
    root = write_voc(random_content(0, 6, whole=True), tmp_path)
    main = root / "ImageSets" / "Main"
    (main / "train.txt").rename(main / f"{train}.txt")
    (main / "val.txt").rename(main / f"{valid}.txt")
    parts = read_labeled(root).parts
    assert {split: len(part["images"]) for split, part in parts.items()} == {
        "train": 3,
        "test" if valid == "test" else "valid": 3,
    }


def test_a_cvat_project_has_a_folder_for_each_subset_and_frames_without_endings(tmp_path: Path) -> None:
    box = '<box label="cat" xtl="5" ytl="5" xbr="20" ybr="20"/>'
    images = ""
    for subset, height in (("Train", 50), ("Validation", 60)):
        for number in range(2):
            write_picture(tmp_path / "images" / subset / f"frame_{number}.PNG", (60, height), number)
            size = f'width="60" height="{height}"'
            images += f'<image id="{number}" name="frame_{number}" subset="{subset}" {size}>{box}</image>'
    labels = "<meta><job><labels><label><name>cat</name></label></labels></job></meta>"
    file = write_text(tmp_path / "annotations.xml", f"<annotations>{labels}{images}</annotations>")
    parts = read_labeled(file).parts
    for split, subset in (("train", "Train"), ("valid", "Validation")):
        paths = [Path(image["file_name"]) for image in parts[split]["images"]]
        assert [(path.parent.name, path.name) for path in paths] == [(subset, f"frame_{n}.PNG") for n in range(2)]


@pytest.mark.parametrize("way", ["my shot {}", "cam1/{}", "{} 1"])
def test_vocs_lists_name_files_with_blanks_and_in_folders(tmp_path: Path, way: str) -> None:
    names = [way.removesuffix(" 1").format(number) for number in range(4)]
    for number, name in enumerate(names):
        write_picture(tmp_path / "JPEGImages" / f"{name}.png", (60, 50), number)
        box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
        xml = (
            f"<annotation><filename>{Path(name).name}.png</filename><object><name>cat</name>{box}</object></annotation>"
        )
        write_text(tmp_path / "Annotations" / f"{name}.xml", xml)
    main = tmp_path / "ImageSets" / "Main"
    write_text(main / "train.txt", "\n".join(way.format(number) for number in range(3)))
    write_text(main / "val.txt", way.format(3))
    dropped = Tally()
    parts = read_voc(tmp_path, dropped, Tally())
    assert {split: len(part.entries) for split, part in parts.items()} == {"train": 3, "valid": 1}
    assert dropped.rows() == []
