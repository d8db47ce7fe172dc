# Starts the agent, as this process, by the first Python of 3.10 or later that the image has.
# Told to leave before the agent listens, this ends with the agent's own code: replace me.
trap 'exit 75' TERM
# A folder is run, not a module: nothing of sweepctl gets into the trainer's PYTHONPATH.
if [ -n "$SWEEPCTL_PYTHONPATH" ]; then
  export PYTHONPATH="$SWEEPCTL_PYTHONPATH${PYTHONPATH:+:$PYTHONPATH}"
fi
# The kernel drops a signal that process 1 neither handles nor blocks. `exec` ends the trap, so the
# signal is blocked until the agent's own handler is there; before coreutils 8.31 env cannot.
block=
if env --block-signal=TERM true 2>/dev/null; then
  block="env --block-signal=TERM"
fi
for python in "$SWEEPCTL_PYTHON" /opt/isaaclab-venv/bin/python /isaac-sim/kit/python/bin/python3 python3; do
  if "$python" -E -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec $block "$python" -E -s -u /opt/sweepctl
  fi
done
message="no Python 3.10 or later in this image: name one in the setting 'interpreter'"
echo "$message" >&2
echo "$message" >/dev/termination-log
exit 78
