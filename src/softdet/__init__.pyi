from softdet.engine.predictor import Prediction as Prediction
from softdet.engine.predictor import Predictor as Predictor
from softdet.engine.predictor import load as load

__all__ = ["Prediction", "Predictor", "__version__", "load"]
__version__: str
