"""As the original's: python dasbe_example.py NET DATASET."""

import sys

from dasbe.example import main

if __name__ == "__main__":
    sys.exit(main())
