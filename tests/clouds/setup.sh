#!/bin/sh
# Installs what the test clouds are made of, in a folder: `setup.sh FOLDER`. Done once for each list
# of requirements.
set -eu
folder=$1
list=$(dirname "$0")/requirements.txt
cmp -s "$list" "$folder/installed.txt" && exit
root=
[ "$(id -u)" = 0 ] || root="sudo -n"
if ! python3 -c 'import ensurepip' 2>/dev/null; then
    echo "installing python3-venv" >&2
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -qqy python3-venv >/dev/null
fi
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$list"
cp "$list" "$folder/installed.txt"
