from softdet.deploy.predictor import Prediction as Prediction
from softdet.deploy.predictor import Predictor as Predictor
from softdet.deploy.predictor import load as load

__all__ = ["Prediction", "Predictor", "__version__", "load"]
__version__: str
