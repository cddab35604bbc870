"""Where the package's own files lie: the checkout or site-packages, datasets, pocket's weights. Imports nothing."""

from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent  # `tasks/`, `methods/`, `reports/`, and in a checkout `datasets/`
DATASETS = (PACKAGE / "_datasets", ROOT / "datasets")  # in a wheel, in a checkout
POCKET = PACKAGE / "pocket"
