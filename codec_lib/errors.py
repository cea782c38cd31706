"""Every failure a user can cause or meet, as one exception family.

The command line prints the message of any `CodecError` as one sentence and exits with status 2.
"""


class CodecError(Exception):
    """Base of all errors that Codecbook raises on purpose; its message is one helpful sentence."""


class Truncated(CodecError):
    """The file ends before its own header says it should."""


class Corrupt(CodecError):
    """The bytes are not a `.cbk` file, or a checksum does not fit them."""


class WrongModel(CodecError):
    """The file was written by weights that are not the ones at hand."""


class TooLarge(CodecError):
    """The picture is larger than this program is willing to handle."""


class Desynchronised(CodecError):
    """The decoded symbols are not those that were encoded."""


class Unsupported(CodecError):
    """A version, model, quality or coder that this installation does not have."""


class BadImage(CodecError):
    """The input cannot be read as a picture."""


class BadData(CodecError):
    """A data set, manifest or weight file is missing, empty, unreadable or fails its checksum."""
