"""`python -m conversion SRC DST --to Q4_K_M,Q6_K`: weights on this machine made into other files on this machine."""

import sys

from conversion.command import main

if __name__ == "__main__":
    sys.exit(main())
