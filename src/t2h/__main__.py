"""`python -m t2h` is `t2h`."""

import sys

from t2h.cli import main

sys.exit(main())
