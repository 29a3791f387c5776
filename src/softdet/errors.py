"""The errors that a person can mend: each message says what, where, found against expected, and the fix."""


class SoftdetError(ValueError):
    """Bad input of any kind; the command line prints its message without a traceback and exits with 2."""


class ConfigError(SoftdetError):
    """A key, type or value of the configuration is not allowed."""


class DataError(SoftdetError):
    """An index, an image or a folder can't be used."""


class WeightsError(SoftdetError):
    """A weights file is missing, can't be downloaded or doesn't fit the model."""


class RunError(SoftdetError):
    """A run folder is missing, taken, or not what the command needs."""
