"""`python -m codec_lib` is the command `codecbook`."""

import sys


def main() -> int:
    """The command line; Ctrl-C ends it quietly while it is still being imported, too."""
    try:
        from codec_lib.commands import parser
    except KeyboardInterrupt:
        return 130
    return parser.main()


if __name__ == "__main__":
    sys.exit(main())
