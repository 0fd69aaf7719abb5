# send.pl V4 V6 <PACKETS: sends one packet for each line `SOURCE PROTOCOL PORT` to an address of this family,
# from any source address: a datagram, or the first packet of a connection.
use strict;
use Socket qw(:DEFAULT SOCK_NONBLOCK inet_pton pack_sockaddr_in6);
my %to = (4 => inet_pton(AF_INET, $ARGV[0]), 6 => inet_pton(AF_INET6, $ARGV[1]));
while (<STDIN>) {
    my ($source, $protocol, $port) = split;
    my $is_v6 = $source =~ /:/;
    my $family = $is_v6 ? AF_INET6 : AF_INET;
    my $pack = $is_v6 ? \&pack_sockaddr_in6 : \&pack_sockaddr_in;
    my $type = $protocol eq "udp" ? SOCK_DGRAM : SOCK_STREAM;
    socket(my $s, $family, $type | SOCK_NONBLOCK, 0) or die "socket: $!";
    # IPV6_TRANSPARENT and IP_TRANSPARENT: the source need not be an address of this host.
    setsockopt($s, $is_v6 ? 41 : 0, $is_v6 ? 75 : 19, 1) or die "setsockopt: $!";
    bind($s, $pack->(0, inet_pton($family, $source))) or die "bind $source: $!";
    my $peer = $pack->($port, $to{$is_v6 ? 6 : 4});
    if ($protocol eq "udp") {
        send($s, "x", 0, $peer) or die "send $_: $!";
    } else {
        connect($s, $peer) or $!{EINPROGRESS} or die "connect $_: $!";
    }
}
