"""The sampling command of the official T2H repository, flags unchanged: python ddpm_gen.py --eval ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from t2h.official import ddpm_gen_py

if __name__ == "__main__":
    sys.exit(ddpm_gen_py(sys.argv[1:]))
