#!/bin/bash
# The firewall of this server: loads its rules, takes them back unless they are confirmed, and loads them
# at boot. Installed and run by hitc, as root.
#
# firewall facts            prints what the rules depend on: ssh ports, bridges, other firewalls
# firewall load TOKEN       loads the rules on standard input, and takes them back after a while
# firewall confirm TOKEN    keeps the rules that were loaded with this token
# firewall revert TOKEN     takes them back now
# firewall boot             loads the confirmed rules
# firewall clear            removes everything, including this program
set -u
umask 077
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

CONFIRMED=/etc/hitc/firewall
RUN=/run/hitc/firewall
LIB=/usr/local/lib/hitc
UNIT=/etc/systemd/system/hitc-firewall.service
INIT=/etc/init.d/hitc-firewall
# Seconds until rules that were not confirmed are taken back.
PATIENCE=45

fail() {
    echo "$*" >&2
    exit 1
}

has_systemd() {
    [ -d /run/systemd/system ]
}

# --- the packet filter -------------------------------------------------------------------------

# Prints the program that loads the rules: nft, or iptables where nft is absent.
backend() {
    if nft list tables >/dev/null 2>&1; then
        echo nft
    elif iptables -w 10 -S >/dev/null 2>&1; then
        echo iptables
    fi
}

# each_family COMMAND...: runs it for each family that the kernel and the programs have, with the names of
# the program and of the file.
each_family() {
    "$@" iptables v4 || return 1
    if ip6tables -w 10 -S INPUT >/dev/null 2>&1; then
        "$@" ip6tables v6
    fi
}

# The rules of a folder as one transaction.
nft_file() {
    # Adding a table that exists is no error, and deleting one that does not would be.
    printf 'add table inet hitc\ndelete table inet hitc\n'
    cat "$1/nft"
}

# chain FOLDER PROGRAM FILE TABLE CALLER CHAIN: the lines that replace CHAIN and make it the first rule of
# CALLER. Declaring a chain empties it.
chain() {
    local first
    printf '*%s\n:%s - [0:0]\n' "$4" "$6"
    grep "^-A $6 " "$1/$3"
    first=$($2 -w 10 -t "$4" -S "$5" 2>/dev/null | grep -m 1 "^-A")
    if [ "$first" != "-A $5 -j $6" ]; then
        $2 -w 10 -t "$4" -C "$5" -j "$6" 2>/dev/null && echo "-D $5 -j $6"
        echo "-I $5 1 -j $6"
    fi
    echo COMMIT
}

# iptables_file FOLDER PROGRAM FILE
iptables_file() {
    chain "$@" filter INPUT HITC-IN
    # Not in DOCKER-USER: an engine that starts or makes a network removes the call of that chain for a
    # moment (libnetwork, EnsureJumpRule). Docker has no rules in this table, which is asked before.
    chain "$@" mangle FORWARD HITC-FWD
}

restore() {
    # In a file first: iptables-restore holds the lock for which `chain` would wait.
    mkdir -p "$RUN"
    iptables_file "$1" "$3" "$4" >"$RUN/$4.restore" && "$3-restore" --noflush --wait 10 $2 <"$RUN/$4.restore"
}

# try FOLDER: checks the rules of a folder without loading them.
try() {
    if [ "$(cat "$1/backend")" = nft ]; then
        nft_file "$1" | nft -c -f -
    else
        each_family restore "$1" --test
    fi
}

# load_rules FOLDER
load_rules() {
    if [ "$(cat "$1/backend")" = nft ]; then
        nft_file "$1" | nft -f - || return 1
        unload_iptables
    else
        each_family restore "$1" "" || return 1
        nft delete table inet hitc 2>/dev/null
    fi
    return 0
}

unload_family() {
    # Using a table would make it.
    $1-save | grep -q '^:HITC-\(IN\|FWD\) ' || return 0
    $1 -w 10 -D INPUT -j HITC-IN
    $1 -w 10 -F HITC-IN
    $1 -w 10 -X HITC-IN
    $1 -w 10 -t mangle -D FORWARD -j HITC-FWD
    $1 -w 10 -t mangle -F HITC-FWD
    $1 -w 10 -t mangle -X HITC-FWD
    # iptables-nft keeps the caller, which it made. That of iptables-legacy cannot be removed.
    [ "$($1 -w 10 -t mangle -S FORWARD)" = "-P FORWARD ACCEPT" ] && $1 -w 10 -t mangle -X FORWARD
    return 0
} 2>/dev/null

unload_iptables() {
    command -v iptables >/dev/null && each_family unload_family
    return 0
}

unload() {
    nft delete table inet hitc 2>/dev/null
    unload_iptables
}

# --- taking back -------------------------------------------------------------------------------

# Loads the confirmed rules, or none. If this is interrupted, the new rules cannot be confirmed any
# more, and the next `load` takes them back.
take_back() {
    local status=0
    echo "taken back" >"$RUN/armed"
    if [ -e "$CONFIRMED/backend" ]; then
        load_rules "$CONFIRMED" || status=1
    else
        unload
    fi
    rm -f "$RUN/armed"
    return $status
}

# wait_and_revert TOKEN: what `arm` starts.
wait_and_revert() {
    sleep $PATIENCE
    exec 9>"$RUN/lock"
    flock 9
    # Also if someone else began to, and was interrupted.
    case "$(cat "$RUN/armed" 2>/dev/null)" in
    "$1" | "taken back") take_back ;;
    esac
    return 0
}

arm() {
    echo "$1" >"$RUN/armed"
    if has_systemd && systemd-run --quiet --collect --unit="hitc-firewall-$1" \
        "$LIB/firewall" wait_and_revert "$1" 2>/dev/null; then
        return
    fi
    # Without the variable by which hitc terminates the processes of a command.
    env -u HITC_RUN setsid "$LIB/firewall" wait_and_revert "$1" 9>&- </dev/null >/dev/null 2>&1 &
}

# --- commands ----------------------------------------------------------------------------------

locked() {
    mkdir -p "$RUN"
    exec 9>"$RUN/lock"
    flock -w 30 9 || fail "another program is changing the firewall"
}

ssh_ports() {
    ss -Hltnp 2>/dev/null | awk '/"(sshd|dropbear)"/ { sub(".*:", "", $4); print $4 }'
    # A socket of systemd, for which sshd is started.
    has_systemd && systemctl show -p Listen ssh.socket sshd.socket 2>/dev/null |
        sed -n 's/^Listen=.*:\([0-9]*\) (Stream)$/\1/p'
    return 0
}

facts() {
    local name port
    if [ -z "$(backend)" ] && command -v apt-get >/dev/null; then
        {
            apt-get -o DPkg::Lock::Timeout=300 update -qq
            DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qqy \
                --no-install-recommends nftables
        } >/dev/null 2>&1
    fi
    echo "backend $(backend)"
    ssh_ports | sort -un | sed 's/^/ssh /'
    if command -v ufw >/dev/null && ufw status 2>/dev/null | grep -q '^Status: active'; then
        echo "other UFW"
    fi
    if command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; then
        echo "other firewalld"
    fi
    if command -v docker >/dev/null; then
        docker network ls -q --filter driver=bridge 2>/dev/null | while read -r name; do
            docker network inspect -f \
                '{{with index .Options "com.docker.network.bridge.name"}}bridge {{.}}{{end}}' "$name"
        done | grep .
    fi
    for name in /sys/class/net/br-* /sys/class/net/docker* /sys/class/net/podman*; do
        for port in "$name"/brif/*; do
            port=$(basename "$port")
            [ -e "/sys/class/net/$port/device" ] && echo "card $(basename "$name") $port"
        done
    done
    return 0
}

load() {
    locked
    [ -e "$RUN/armed" ] && take_back
    rm -rf "$RUN/new"
    mkdir -p "$RUN/new"
    awk -v folder="$RUN/new" '/^#= / { file = folder "/" $2; printf "" >file; next } { print >file }'
    [ -e "$RUN/new/end" ] || fail "the rules did not arrive completely"
    backend >"$RUN/new/backend"
    [ -s "$RUN/new/backend" ] || fail "neither nft nor iptables works on this server"
    local cause
    cause=$(try "$RUN/new" 2>&1) || fail "the rules are invalid: $cause"
    arm "$1"
    if ! cause=$(load_rules "$RUN/new" 2>&1); then
        take_back
        fail "the rules could not be loaded: $cause"
    fi
}

confirm() {
    locked
    [ "$(cat "$RUN/armed" 2>/dev/null)" = "$1" ] || fail "the rules were taken back already"
    mkdir -p "$(dirname "$CONFIRMED")"
    rm -rf "$CONFIRMED.old"
    [ -e "$CONFIRMED" ] && mv "$CONFIRMED" "$CONFIRMED.old"
    cp -a "$RUN/new" "$CONFIRMED"
    rm -rf "$CONFIRMED.old" "$RUN/new" "$RUN/armed"
    sync -f "$CONFIRMED"
    has_systemd && systemctl stop "hitc-firewall-$1.service" 2>/dev/null
    install_service
}

revert() {
    locked
    [ "$(cat "$RUN/armed" 2>/dev/null)" = "$1" ] || return 0
    take_back
}

boot() {
    # A reboot in the moment in which the confirmed rules were replaced.
    [ -e "$CONFIRMED/backend" ] || mv "$CONFIRMED.old" "$CONFIRMED" 2>/dev/null
    [ -e "$CONFIRMED/backend" ] && load_rules "$CONFIRMED"
}

install_service() {
    if has_systemd; then
        cat >"$UNIT" <<UNIT
[Unit]
Description=Firewall of hitc
DefaultDependencies=no
Wants=network-pre.target
After=local-fs.target
Before=network-pre.target docker.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$LIB/firewall boot

[Install]
WantedBy=sysinit.target
UNIT
        systemctl daemon-reload
        systemctl enable hitc-firewall.service 2>/dev/null
        return
    fi
    cat >"$INIT" <<INIT
#!/bin/sh
### BEGIN INIT INFO
# Provides: hitc-firewall
# Required-Start: \$local_fs
# Required-Stop:
# X-Start-Before: networking docker
# Default-Start: S
# Default-Stop:
# Short-Description: Firewall of hitc
### END INIT INFO
[ "\$1" = start ] && exec $LIB/firewall boot
exit 0
INIT
    chmod 755 "$INIT"
    update-rc.d hitc-firewall defaults >/dev/null 2>&1
    return 0
}

clear() {
    locked
    unload
    rm -rf "$CONFIRMED" "$CONFIRMED.old" "$RUN" "$LIB/firewall"
    rmdir /etc/hitc "$LIB" /run/hitc 2>/dev/null
    if has_systemd; then
        systemctl disable hitc-firewall.service 2>/dev/null
        rm -f "$UNIT"
        systemctl daemon-reload
    else
        rm -f "$INIT"
        update-rc.d hitc-firewall remove >/dev/null 2>&1
    fi
    return 0
}

case ${1:-} in
facts | load | confirm | revert | boot | clear | wait_and_revert) "$@" ;;
*) fail "unknown command" ;;
esac
