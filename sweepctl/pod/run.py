"""`python -m sweepctl.pod.run COMMAND…`, as people's sweep files name it: the wrapper."""

import os
import sys

from sweepctl_pod.wrapper import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
