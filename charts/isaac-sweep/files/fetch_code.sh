# Clones one commit of a git repository into the code volume. Name and password come by environment;
# for ssh, key and known hosts from the Secret that is mounted at $CODE_KEY.
set -e
if [ -n "$CODE_KEY" ]; then
  if ! command -v ssh >/dev/null; then
    echo "code: this image has no ssh: name one in code.git.image, such as alpine/git:2.49.1" >&2
    exit 1
  fi
  # ssh takes no key that others may read: a copy for this clone alone, in memory where there is some.
  keys=$(mktemp -d /dev/shm/code.XXXXXX 2>/dev/null || mktemp -d /tmp/code.XXXXXX)
  trap 'rm -rf "$keys"' EXIT
  (
    umask 077
    { tr -d '\r' <"$CODE_KEY/ssh-privatekey"; echo; } >"$keys/key"
    if [ -n "$CODE_KNOWN_HOSTS" ]; then
      printf '%s\n' "$CODE_KNOWN_HOSTS"
    elif [ -f "$CODE_KEY/known_hosts" ]; then
      cat "$CODE_KEY/known_hosts"
    fi >"$keys/known_hosts"
  )
  if [ ! -s "$keys/known_hosts" ]; then
    echo "code: no host is known to ssh: give code.git.knownHosts, or the key known_hosts in the Secret, what ssh-keyscan HOST prints" >&2
    exit 1
  fi
  export GIT_SSH_COMMAND="ssh -F /dev/null -i $keys/key -o IdentitiesOnly=yes -o BatchMode=yes \
    -o ConnectTimeout=30 -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$keys/known_hosts \
    -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no"
fi
git init --quiet /code-volume/repository
cd /code-volume/repository
git -c credential.helper='!f() { echo "username=${GIT_USERNAME:-git}"; echo "password=$GIT_PASSWORD"; }; f' \
  fetch --quiet --depth 1 "$CODE_REPOSITORY" "$CODE_REF"
git checkout --quiet FETCH_HEAD
echo "code: $CODE_REPOSITORY at $(git rev-parse HEAD)"
