#!/bin/bash
# Publishes ports of running containers. hitc installs this file as /usr/local/lib/hitc/bind and runs it
# as root:
#
#   bind add PUBLIC PROTOCOL CONTAINER_ID PORT    publish a port; fails if it is in use
#   bind remove PUBLIC PROTOCOL                   withdraw a port
#   bind watch                                    the service that keeps the ports published
#
# /var/lib/hitc/binds/PUBLIC-PROTOCOL has the container's id and port of each binding. The service
# listens to the engine's events: a container that restarts has another address, and a container that
# was removed has no bindings. It ends when there are no bindings left.
#
# Connections from other machines over IPv4 are redirected by the packet filter, so that the container
# sees the client's address, as for a port that Docker publishes. Connections over IPv6, from the
# server itself and from containers on it go through docker-proxy, which also reserves the port.
set -u

LIB=/usr/local/lib/hitc
BINDS=/var/lib/hitc/binds
RUN=/run/hitc-bind
CHAIN=HITC-BIND
UNIT=/etc/systemd/system/hitc-bind.service
INIT=/etc/init.d/hitc-bind

fail() {
    echo "$1" >&2
    exit 1
}

has_systemd() { [ -d /run/systemd/system ]; }

# --- the packet filter -------------------------------------------------------------------------

# Replaces the rules by those of the bindings that are in force, one file of $RUN each. Without
# Docker's own chain there is no place for them, and the proxies serve all connections.
load_rules() {
    iptables -w 10 -n -L DOCKER-USER >/dev/null 2>&1 || return 0
    {
        echo '*nat'
        echo ":$CHAIN - [0:0]"
        # The replies of a container on the same bridge would not pass the server.
        echo "-A $CHAIN -i docker0 -j RETURN"
        echo "-A $CHAIN -i br-+ -j RETURN"
        each_target nat
        echo COMMIT
        echo '*filter'
        echo ":$CHAIN - [0:0]"
        each_target filter
        echo COMMIT
    } | iptables-restore --noflush --wait 10 || return 1
    iptables -w 10 -t nat -C PREROUTING -m addrtype --dst-type LOCAL -j $CHAIN 2>/dev/null ||
        iptables -w 10 -t nat -I PREROUTING 1 -m addrtype --dst-type LOCAL -j $CHAIN || return 1
    iptables -w 10 -C DOCKER-USER -j $CHAIN 2>/dev/null && return
    # The firewall was asked before, and has decided who reaches a port.
    iptables -w 10 -I DOCKER-USER 1 -j $CHAIN || return 1
}

each_target() {
    local file key ip port public protocol
    for file in "$RUN"/*.target; do
        [ -e "$file" ] || continue
        key=$(basename "$file" .target)
        public=${key%-*} protocol=${key#*-}
        read -r ip port <"$file"
        case $1 in
        nat) echo "-A $CHAIN -p $protocol --dport $public -j DNAT --to-destination $ip:$port" ;;
        filter)
            echo "-A $CHAIN -d $ip -p $protocol --dport $port -m conntrack --ctstate DNAT" \
                "--ctorigdstport $public -j ACCEPT"
            ;;
        esac
    done
}

unload_rules() {
    iptables -w 10 -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j $CHAIN
    iptables -w 10 -D DOCKER-USER -j $CHAIN
    for table in nat filter; do
        iptables -w 10 -t $table -F $CHAIN
        iptables -w 10 -t $table -X $CHAIN
    done
} 2>/dev/null

# --- the proxies -------------------------------------------------------------------------------

proxy_program() {
    command -v docker-proxy || ls /usr/libexec/docker/docker-proxy 2>/dev/null
}

# start_proxies KEY IP PORT: prints why it failed. docker-proxy writes 0, or 1 and the cause, to its
# file descriptor 3.
start_proxies() {
    local key=$1 program host status
    program=$(proxy_program) || {
        echo "docker-proxy is not installed"
        return 1
    }
    for host in 0.0.0.0 ::; do
        # Without IPv6 there is nothing to listen on.
        [ "$host" = :: ] && ! grep -qs . /proc/net/if_inet6 && continue
        status=$RUN/$key.status
        : >"$status"
        HITC_BIND=$key setsid "$program" -proto "${key#*-}" -host-ip "$host" \
            -host-port "${key%-*}" -container-ip "$2" -container-port "$3" \
            3>"$status" 9>&- </dev/null >/dev/null 2>&1 &
        echo $! >>"$RUN/$key.pids"
        local end=$((SECONDS + 10))
        until [ -s "$status" ]; do
            if [ $SECONDS -gt $end ] || ! kill -0 $! 2>/dev/null; then
                [ -s "$status" ] || echo "1 docker-proxy did not start" >"$status"
            fi
            sleep 0.02
        done
        if [ "$(head -c 1 "$status")" != 0 ]; then
            tr '\n' ' ' <"$status" | sed 's/^1 *//'
            stop_proxies "$key"
            return 1
        fi
        rm -f "$status"
    done
}

stop_proxies() {
    local pid
    [ -e "$RUN/$1.pids" ] || return 0
    while read -r pid; do
        # After a reboot, another process may have the number.
        grep -qsz "^HITC_BIND=$1\$" "/proc/$pid/environ" && kill "$pid"
    done <"$RUN/$1.pids"
    rm -f "$RUN/$1.pids" "$RUN/$1.target" "$RUN/$1.status"
}

# --- the service -------------------------------------------------------------------------------

# Brings proxies and rules to what the bindings and the engine say. Changes nothing while the engine
# does not answer: containers may be running without it.
apply() {
    local ids file key id port target cause
    ids=$(docker ps -aq --no-trunc 2>/dev/null) || return 0
    for file in "$RUN"/*.pids; do
        key=$(basename "$file" .pids)
        [ -e "$file" ] && [ ! -e "$BINDS/$key" ] && stop_proxies "$key"
    done
    for file in "$BINDS"/*; do
        [ -e "$file" ] || continue
        key=$(basename "$file")
        read -r id port <"$file"
        case $ids in
        *"$id"*) ;;
        *)
            rm -f "$file"
            stop_proxies "$key"
            continue
            ;;
        esac
        target=$(docker inspect -f '{{if .State.Running}}{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{end}}' "$id")
        target=${target%% *}
        if [ -z "$target" ]; then
            stop_proxies "$key"
            continue
        fi
        [ "$(cat "$RUN/$key.target" 2>/dev/null)" = "$target $port" ] && continue
        stop_proxies "$key"
        if cause=$(start_proxies "$key" "$target" "$port"); then
            echo "$target $port" >"$RUN/$key.target"
            rm -f "$RUN/$key.error"
        else
            echo "$cause" >"$RUN/$key.error"
            echo "port $key: $cause" >&2
        fi
    done
    load_rules
}

stop_all() {
    for file in "$RUN"/*.pids; do
        [ -e "$file" ] && stop_proxies "$(basename "$file" .pids)"
    done
}

# Ends the service and what listens to the engine for it: its process group.
end() {
    trap '' TERM
    kill -TERM 0
    exit 0
}

watch() {
    mkdir -p "$RUN"
    exec 9>"$RUN/lock"
    # A service that was killed left its proxies.
    stop_all
    rm -f "$RUN/fifo" "$RUN"/*.target "$RUN"/*.error
    mkfifo -m 600 "$RUN/fifo"
    exec 3<>"$RUN/fifo"
    echo $$ >"$RUN/pid"
    (
        exec 9>&-
        while :; do
            docker events --filter type=container --filter event=start --filter event=die \
                --filter event=destroy --format event >&3 2>/dev/null &
            echo connected >&3
            wait $!
            sleep 1
        done
    ) &
    trap 'stop_all; end' TERM INT
    while read -r _ <&3; do
        while read -t 0.05 -r _ <&3; do :; done
        flock 9
        apply
        if [ -z "$(ls "$BINDS")" ]; then
            uninstall
            rm -rf "$RUN"
            end
        fi
        touch "$RUN/applied"
        flock -u 9
    done
}

# --- installation ------------------------------------------------------------------------------

is_running() {
    [ -e "$RUN/pid" ] && grep -qz "$LIB/bind" "/proc/$(cat "$RUN/pid")/cmdline" 2>/dev/null
}

install_service() {
    if has_systemd; then
        cat >"$UNIT" <<UNIT
[Unit]
Description=Ports of running containers that hitc published
After=docker.service

[Service]
ExecStart=$LIB/bind watch
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
UNIT
        systemctl daemon-reload
        systemctl enable --now hitc-bind.service 2>/dev/null
        return
    fi
    cat >"$INIT" <<INIT
#!/bin/sh
### BEGIN INIT INFO
# Provides: hitc-bind
# Required-Start: \$remote_fs
# Required-Stop:
# Should-Start: docker
# Default-Start: 2 3 4 5
# Default-Stop:
# Short-Description: Ports of running containers that hitc published
### END INIT INFO
case "\$1" in
start | restart) setsid $LIB/bind watch >>/var/log/hitc-bind.log 2>&1 </dev/null & ;;
stop) kill "\$(cat $RUN/pid)" ;;
esac
INIT
    chmod 755 "$INIT"
    update-rc.d hitc-bind defaults >/dev/null 2>&1
    is_running || "$INIT" start
}

uninstall() {
    unload_rules
    rm -rf "$BINDS" "$LIB/bind"
    rmdir /var/lib/hitc "$LIB" 2>/dev/null
    if has_systemd; then
        systemctl disable hitc-bind.service 2>/dev/null
        rm -f "$UNIT"
        systemctl daemon-reload
    else
        rm -f "$INIT"
        update-rc.d hitc-bind remove >/dev/null 2>&1
    fi
    return 0
}

# Tells the service that the bindings changed, and waits until it has applied them.
poke() {
    local end=$((SECONDS + 15))
    until is_running; do
        [ $SECONDS -gt $end ] && fail "the service hitc-bind did not start"
        sleep 0.05
    done
    rm -f "$RUN/applied"
    flock -u 9
    # Opening blocks if the service has just ended.
    timeout 5 sh -c "echo poke >$RUN/fifo"
    until [ -e "$RUN/applied" ] || [ ! -e "$RUN" ]; do
        [ $SECONDS -gt $end ] && fail "the service hitc-bind did not answer"
        sleep 0.02
    done
}

add() {
    local key=$1-$2
    command -v docker >/dev/null ||
        fail "the server has no docker command; ports of Podman's containers cannot be bound"
    mkdir -p "$BINDS" "$RUN"
    exec 9>"$RUN/lock"
    flock 9
    [ -e "$BINDS/$key" ] && fail "port $1 is already bound"
    echo "$3 $4" >"$BINDS/.new" && mv "$BINDS/.new" "$BINDS/$key"
    install_service
    poke
    if [ ! -e "$RUN/$key.target" ]; then
        cause=$(cat "$RUN/$key.error" 2>/dev/null)
        rm -f "$BINDS/$key" "$RUN/$key.error"
        flock 9
        poke
        fail "${cause:-the container does not run}"
    fi
}

remove() {
    [ -e "$BINDS/$1-$2" ] || fail "port $1 is not bound"
    exec 9>"$RUN/lock"
    flock 9
    rm -f "$BINDS/$1-$2"
    is_running || install_service
    poke
}

case ${1:-} in
add | remove | watch) "$@" ;;
*) fail "unknown command" ;;
esac
