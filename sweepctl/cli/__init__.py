"""The command line: parse, one call, one print."""

from sweepctl.cli.app import main as main
