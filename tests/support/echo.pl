# echo.pl PROTOCOL/PORT...: answers on every port with what it is sent, over IPv4 and IPv6.
use Socket qw(:DEFAULT IPPROTO_IPV6 IPV6_V6ONLY pack_sockaddr_in6 IN6ADDR_ANY);
$SIG{CHLD} = "IGNORE";
for my $service (@ARGV) {
    next if fork;
    my ($protocol, $port) = split "/", $service;
    my $type = $protocol eq "udp" ? SOCK_DGRAM : SOCK_STREAM;
    my $address = pack_sockaddr_in6($port, IN6ADDR_ANY);
    if (!socket(S, AF_INET6, $type, 0) || !setsockopt(S, IPPROTO_IPV6, IPV6_V6ONLY, 0)
        || !setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1) || !bind(S, $address)) {
        socket(S, AF_INET, $type, 0) or die $!;
        setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
        bind(S, pack_sockaddr_in($port, INADDR_ANY)) or die $!;
    }
    if ($type == SOCK_DGRAM) {
        while (my $from = recv(S, my $data, 100, 0)) { send(S, $data, 0, $from); }
        next;
    }
    listen(S, 100);
    while (accept(C, S)) {
        if (!fork) {
            while (sysread(C, my $data, 100)) { syswrite(C, $data); }
            exit;
        }
        close C;
    }
}
sleep;
