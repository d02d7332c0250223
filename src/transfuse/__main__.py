"""`python -m transfuse`."""

import sys

from transfuse.cli.main import main

sys.exit(main())
