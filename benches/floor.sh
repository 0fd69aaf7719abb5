#!/bin/sh
# floor.sh PORT IP...: what a run without changes cannot do without: to each server one SSH connection, on
# it one raw request for the list of containers, one for every container, and the packet filter's rules.
set -eu
port=$1
shift
cat >target/bench/unchanged/look.pl <<'END'
use IO::Socket::UNIX;
$socket = IO::Socket::UNIX->new(Peer => "/var/run/docker.sock") or die "the engine does not answer";
sub get {
    print $socket "GET $_[0] HTTP/1.1\r\nHost: docker\r\n\r\n";
    $socket->flush;
    ($length, $chunked, $body) = (0, 0, "");
    while (($line = <$socket>) ne "\r\n") {
        $length = $1 if $line =~ /^content-length: (\d+)/i;
        $chunked = 1 if $line =~ /^transfer-encoding: chunked/i;
    }
    if ($chunked) {
        while (($size = hex(<$socket>)) > 0) { read($socket, $part, $size + 2); $body .= $part; }
        <$socket>;
    } else {
        read($socket, $body, $length);
    }
    return $body;
}
$list = get("/containers/json?all=1");
@ids = $list =~ /"Id":"([0-9a-f]{64})"/g;
get("/containers/$_/json") for @ids;
print scalar(@ids), "\n";
END
for ip; do
    ssh -F none -o BatchMode=yes -o KexAlgorithms=curve25519-sha256 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i ~/.local/share/hitc/id_ed25519 -p "$port" \
        "root@$ip" 'perl - && iptables-save >/dev/null' <target/bench/unchanged/look.pl >/dev/null &
done
wait
