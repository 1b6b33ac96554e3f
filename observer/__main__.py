"""`python -m observer tap NAME LABEL=ADDRESS...` captures; `python -m observer serve` judges when asked."""

import sys
from importlib import import_module

# Imported when asked for: ten containers start at once.
MODULES = {
    "tap": "observer.tap", "serve": "observer.judge", "page": "observer.page",
    "report": "observer.view.report", "ladder": "observer.view.ladder",
    "live": "observer.view.server", "follow": "observer.view.follow",
}  # fmt: skip

if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    sys.exit(import_module(MODULES[verb]).main(rest))
