# Starts the agent, as this process, by the first Python of 3.10 or later that the image has.
# A folder is run, not a module: nothing of sweepctl gets into the trainer's PYTHONPATH.
if [ -n "$SWEEPCTL_PYTHONPATH" ]; then
  export PYTHONPATH="$SWEEPCTL_PYTHONPATH${PYTHONPATH:+:$PYTHONPATH}"
fi
for python in "$SWEEPCTL_PYTHON" /opt/isaaclab-venv/bin/python /isaac-sim/kit/python/bin/python3 python3; do
  if "$python" -E -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" -E -s -u /opt/sweepctl
  fi
done
message="no Python 3.10 or later in this image: name one in the setting 'interpreter'"
echo "$message" >&2
echo "$message" >/dev/termination-log
exit 78
