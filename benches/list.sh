#!/bin/sh
# list.sh IP...: one raw request for the list of containers to each server, over OpenSSH, all at once. By
# perl, which every Debian has, and which starts faster than curl.
set -eu
for ip; do
    ssh -F none -o BatchMode=yes -o KexAlgorithms=curve25519-sha256 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i ~/.local/share/hitc/id_ed25519 "root@$ip" \
        'perl -MIO::Socket::UNIX -' >/dev/null <<'END' &
$engine = IO::Socket::UNIX->new("/var/run/docker.sock") or die "the engine does not answer";
print $engine "GET /containers/json HTTP/1.0\r\n\r\n";
$engine->flush;
print while <$engine>;
END
done
wait
