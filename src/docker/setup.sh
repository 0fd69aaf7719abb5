# Makes a Debian or Ubuntu machine ready to run containers. Run as root; can be run again.
# Prints what it did as its last line: ready, started or installed.
set -eu

answers() {
    [ -S /var/run/docker.sock ] && command -v docker >/dev/null && docker version >/dev/null 2>&1
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
    $apt install -y --no-install-recommends $packages >&2
    did=installed
fi

if [ -d /run/systemd/system ]; then
    systemctl enable --now docker.service docker.socket >&2
else
    # No service manager: start it by hand, and at the next boot where init scripts are run.
    if command -v update-rc.d >/dev/null && [ -e /etc/init.d/docker ]; then
        update-rc.d docker defaults >/dev/null 2>&1 || true
        update-rc.d docker enable >/dev/null 2>&1 || true
    fi
    if ! pgrep -x dockerd >/dev/null 2>&1; then
        rm -f /var/run/docker.pid
        setsid dockerd >>/var/log/docker.log 2>&1 </dev/null &
    fi
fi

tries=0
until answers; do
    tries=$((tries + 1))
    if [ "$tries" -ge 300 ]; then
        echo "the Docker Engine does not answer a minute after its start" >&2
        tail -n 5 /var/log/docker.log >&2 2>/dev/null || true
        exit 1
    fi
    sleep 0.2
done
echo "$did"
