"""`python -m transfuse`."""

from transfuse.cli.main import main

main()
