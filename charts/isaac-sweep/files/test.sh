# Looks at a release as its agents do: does the API answer, take the key, and have the sweep?
for python in "$SWEEPCTL_PYTHON" /opt/isaaclab-venv/bin/python /isaac-sim/kit/python/bin/python3 python3; do
  if "$python" -E -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" -E -s -u -c 'import sys; sys.path.insert(0, "/opt/sweepctl"); from sweepctl_pod.helm_test import main; sys.exit(main())'
  fi
done
echo "no Python 3.10 or later in this image: name one in the setting 'interpreter'" >&2
exit 1
