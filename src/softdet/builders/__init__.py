"""The only translation of a config into objects; a config never goes further than this room and the commands."""

from softdet.builders.arms import arms_of, count_burn_in, count_steps, has_control
from softdet.builders.data import Data, load_data, load_test, load_valid
from softdet.builders.detector import make_card
from softdet.builders.trainer import device_of, make_fabric, make_trainer

__all__ = [
    "Data",
    "arms_of",
    "count_burn_in",
    "count_steps",
    "device_of",
    "has_control",
    "load_data",
    "load_test",
    "load_valid",
    "make_card",
    "make_fabric",
    "make_trainer",
]
