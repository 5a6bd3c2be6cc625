"""AMI and SynScore against iteration: ``python -m gust.figures.scores`` under its original name.

python -m gust.draw_ami_syn_score --profile quick
"""

from __future__ import annotations

import sys

from gust.figures.scores import main

if __name__ == "__main__":
    sys.exit(main())
