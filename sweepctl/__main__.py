"""`python -m sweepctl` is the command line."""

from sweepctl.cli import main

main()
