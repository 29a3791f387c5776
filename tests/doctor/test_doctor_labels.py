from collections.abc import Callable
from typing import Any


def test_an_unknown_category(own: Any, only: Callable[..., Any]) -> None:
    own.box(3, category_id=7)
    finding = only(own.examine(), "category-unknown")
    assert (finding.level, finding.places[0].file) == ("error", "labeled_1.png")
    assert "0 = cat, 1 = dog" in finding.message


def test_an_ignored_region_may_be_of_a_category_that_is_no_class(own: Any) -> None:
    own.box(3, category_id=7, ignore=1)
    assert own.examine().findings == ()


def test_a_class_without_labels(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["categories"].append({"id": 2, "name": "owl"})
    finding = only(own.examine(), "class-without-labels")
    assert (finding.level, finding.places[0].file) == ("warning", "owl")


def test_a_class_that_validation_lacks_or_hardly_has(own: Any) -> None:
    boxes = own.content["valid"]["annotations"]
    dogs = [each for each in boxes if each["category_id"] == 1]
    own.content["valid"]["annotations"] = [each for each in boxes if each["category_id"] == 0][:3] + dogs[:0]
    findings = {finding.code: finding for finding in own.examine().findings}
    assert findings["class-not-in-valid"].places[0].file == "dog"
    assert findings["class-rare-in-valid"].places[0].file == "cat"


def test_validation_images_of_another_set_are_an_error(own: Any, only: Callable[..., Any]) -> None:
    own.content["valid"]["annotations"] = [each | {"category_id": 7} for each in own.content["valid"]["annotations"]]
    own.content["valid"]["categories"] = [{"id": 7, "name": "raccoon"}]
    finding = {finding.code: finding for finding in own.examine().findings}["class-not-in-valid"]
    assert finding.level == "error"
    assert "Is it another set?" in finding.fix


def test_no_box_at_all(own: Any) -> None:
    own.content["labeled"]["annotations"] = []
    assert [finding.code for finding in own.examine().findings] == ["no-boxes"]


def test_images_without_boxes(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["annotations"] = own.content["labeled"]["annotations"][:10]
    finding = only(own.examine(), "images-without-boxes")
    assert (finding.level, finding.places[0].file) == ("note", "labeled_5.png")
    own.content["labeled"]["annotations"] = own.content["labeled"]["annotations"][:4]
    assert only(own.examine(), "images-without-boxes").level == "warning"


def test_imbalance(own: Any, only: Callable[..., Any]) -> None:
    box = {"image_id": 1, "category_id": 0}
    more = [{"id": 100 + n, "bbox": [n % 9 * 10, n // 9 * 4, 9, 9], **box} for n in range(130)]
    own.content["labeled"]["annotations"] += more
    finding = only(own.examine(), "class-imbalance")
    assert [place.file for place in finding.places] == ["cat", "dog"]


def test_a_class_that_only_validation_knows_and_its_likely_twin(own: Any) -> None:
    own.content["valid"]["categories"][1]["name"] = "Dog"
    findings = {finding.code: finding for finding in own.examine().findings}
    assert findings["classes-differ"].level == "error"
    assert "'Dog' and 'dog' are the same name spelled differently" in findings["classes-differ"].message


def test_the_same_ids_with_other_names(own: Any, only: Callable[..., Any]) -> None:
    own.content["valid"]["categories"] = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]
    finding = only(own.examine(), "class-order-differs")
    assert finding.places[0].detail == "cat in labeled, dog in valid"


def test_other_ids_with_the_same_names_are_no_finding(own: Any) -> None:
    for number, category in enumerate(own.content["valid"]["categories"]):
        category["id"] = 10 + number
    for annotation in own.content["valid"]["annotations"]:
        annotation["category_id"] += 10
    assert own.examine().findings == ()
