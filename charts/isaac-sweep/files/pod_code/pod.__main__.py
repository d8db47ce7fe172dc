"""Where Python begins when it is given the folder of the pod code: the agent."""

import os
import sys

from sweepctl.pod.agent import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
