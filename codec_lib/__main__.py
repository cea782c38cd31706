"""`python -m codec_lib` is the command `codecbook`."""

import sys

from codec_lib.commands.parser import main

if __name__ == "__main__":
    sys.exit(main())
