"""The training command of the official T2H repository, flags unchanged: python main.py --train --transfer_x0 ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from t2h.official import main_py

if __name__ == "__main__":
    sys.exit(main_py(sys.argv[1:]))
