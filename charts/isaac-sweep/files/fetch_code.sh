# Clones one commit of a git repository into the code volume; name and password come by environment.
set -e
git init --quiet /code-volume/repository
cd /code-volume/repository
git -c credential.helper='!f() { echo "username=${GIT_USERNAME:-git}"; echo "password=$GIT_PASSWORD"; }; f' \
  fetch --quiet --depth 1 "$CODE_REPOSITORY" "$CODE_REF"
git checkout --quiet FETCH_HEAD
echo "code: $CODE_REPOSITORY at $(git rev-parse HEAD)"
