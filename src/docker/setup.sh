# Installs and starts the Docker Engine on a Debian or Ubuntu machine. Run as root; can be run again.
# Prints what it did as its last line: ready, started or installed.
set -eu

# An engine that hangs accepts connections and never answers.
answers() {
    [ -S /var/run/docker.sock ] && command -v docker >/dev/null &&
        timeout 5 docker version >/dev/null 2>&1
}

if answers; then
    echo ready
    exit 0
fi

did=started
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    ID=unknown ID_LIKE=
    [ -r /etc/os-release ] && . /etc/os-release
    case " $ID $ID_LIKE " in
    *" debian "* | *" ubuntu "*) ;;
    *)
        echo "this is ${PRETTY_NAME:-$ID}; hitc sets up Docker on Debian and Ubuntu only" >&2
        exit 65
        ;;
    esac
    if ! command -v apt-get >/dev/null; then
        echo "apt-get is missing" >&2
        exit 65
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt="apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq"
    $apt update
    packages="docker.io iptables ca-certificates"
    # The command is a package of its own since Debian 13.
    if apt-cache show docker-cli >/dev/null 2>&1; then
        packages="$packages docker-cli"
    fi
    # shellcheck disable=SC2086
    $apt install -y --no-remove --no-install-recommends $packages >&2
    did=installed
fi

# Whether the engine's process exists, perhaps still starting or already terminating. Not found by
# name: an engine inside of a container has that name, too.
started=
exists() {
    if [ -n "$started" ] && kill -0 "$started" 2>/dev/null; then
        return 0
    fi
    pid=$(cat /var/run/docker.pid 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]
}

starts=0
start() {
    starts=$((starts + 1))
    rm -f /var/run/docker.pid
    setsid dockerd >>/var/log/docker.log 2>&1 </dev/null &
    started=$!
}

managed=
if [ -d /run/systemd/system ]; then
    managed=yes
    systemctl enable --now docker.service docker.socket >&2
elif command -v update-rc.d >/dev/null && [ -e /etc/init.d/docker ]; then
    # No service manager: started by hand now, and by init scripts at the next boot.
    update-rc.d docker defaults >/dev/null 2>&1 || true
    update-rc.d docker enable >/dev/null 2>&1 || true
fi

end=$(($(date +%s) + 60))
until answers; do
    # One that was terminating is started again once it has ended.
    if [ -z "$managed" ] && [ "$starts" -lt 3 ] && ! exists; then
        start
    fi
    if [ "$(date +%s)" -ge "$end" ]; then
        echo "the Docker Engine did not answer within 60 s after it was started" >&2
        tail -n 5 /var/log/docker.log >&2 2>/dev/null || true
        exit 1
    fi
    sleep 0.2
done
echo "$did"
