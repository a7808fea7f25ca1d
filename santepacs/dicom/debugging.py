"""What pynetdicom tells, and what it must not: switches of the library, for the whole process."""

import logging
import warnings

from pynetdicom import _config
from twisted.logger import Logger

log = Logger()

_SECRETS = ("Username:", "Password:")  # of a user identity, which some callers send


class _ToOurLog(logging.Handler):
    """pynetdicom's log records, for `dicom.debug`."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.lstrip().startswith(_SECRETS):
            log.debug("pynetdicom: {message}", message=message)


def keep_content_out_of_logs() -> None:
    """Never the content of anything in a log."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    # pydicom warns of impossible values by quoting them, and those may be a patient's.
    warnings.filterwarnings("ignore", module=r"pydicom\b")


def speak(debug: bool) -> None:
    """Let pynetdicom tell what goes on (`dicom.debug`), or keep it quiet."""
    _config.LOG_HANDLER_LEVEL = "standard" if debug else "none"
    logger = logging.getLogger("pynetdicom")
    if debug and not any(isinstance(handler, _ToOurLog) for handler in logger.handlers):
        logger.addHandler(_ToOurLog())
    logger.setLevel(logging.DEBUG if debug else logging.CRITICAL)
