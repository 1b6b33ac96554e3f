"""`python -m observer tap NAME LABEL=ADDRESS...` captures; `python -m observer serve` judges when asked."""

import sys

from observer import judge, tap

if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    sys.exit({"tap": tap.main, "serve": judge.main}[verb](rest))
