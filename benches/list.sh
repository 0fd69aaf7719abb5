#!/bin/sh
# list.sh IP...: one raw request for the list of containers to each server, over OpenSSH, all at once.
set -eu
for ip; do
    ssh -F none -o BatchMode=yes -o KexAlgorithms=curve25519-sha256 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i ~/.local/share/hitc/id_ed25519 "root@$ip" \
        curl -sS --unix-socket /var/run/docker.sock http://docker/containers/json >/dev/null &
done
wait
