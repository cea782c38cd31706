"""`python -m codec_lib.report`: the whole report, or what of it is out of date."""

import sys

from codec_lib.report.runner import main

sys.exit(main())
