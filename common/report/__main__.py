"""``python -m common.report``."""

import sys

from common.report.command import main

sys.exit(main())
