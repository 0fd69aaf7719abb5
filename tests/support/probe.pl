# probe.pl NAME=PROTOCOL,ADDRESS,PORT[,SOURCE_PORT]...: tries all at once, and prints the names of those that
# answer within three seconds, or those of the environment variable SECONDS.
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 IN6ADDR_ANY);
pipe(R, W);
for (@ARGV) {
    next if fork;
    my ($name, $way) = split "=";
    my ($protocol, $address, $port, $from) = split ",", $way;
    my $is_v6 = $address =~ /:/;
    my $type = $protocol eq "udp" ? SOCK_DGRAM : SOCK_STREAM;
    $SIG{ALRM} = sub { exit };
    alarm($ENV{SECONDS} || 3);
    socket(S, $is_v6 ? AF_INET6 : AF_INET, $type, 0) or exit;
    if ($from) {
        setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
        bind(S, pack_sockaddr_in($from, INADDR_ANY)) or exit;
    }
    my $to = $is_v6 ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $address))
        : pack_sockaddr_in($port, inet_aton($address));
    connect(S, $to) or exit;
    syswrite(S, "x");
    sysread(S, my $data, 1) and syswrite(W, "$name\n");
    exit;
}
close W;
print sort <R>;
