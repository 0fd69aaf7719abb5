# Installs and starts the Docker Engine on a Debian or Ubuntu machine. Run as root; can be run again.
# Prints what it did as its last line: ready, started or installed.
#
# Arguments: REPOSITORY (distribution, docker), LOG_ROTATION, LIVE_RESTORE and FORCE (true, false),
# DEVICE (for /var/lib/docker; may be empty).
set -eu
repository=$1 log_rotation=$2 live_restore=$3 force=$4 device=$5
data=/var/lib/docker

fail() {
    echo "$1" >&2
    exit 65
}

# An engine that hangs accepts connections and never answers.
answers() {
    [ -S /var/run/docker.sock ] && command -v docker >/dev/null &&
        timeout 5 docker version >/dev/null 2>&1
}

is_mounted() {
    [ -z "$device" ] || [ "$(findmnt -nro SOURCE -M $data)" = "$device" ]
}

if [ -n "$device" ]; then
    # The kernel may take a moment to show a device that was just attached.
    n=0
    until [ -b "$device" ]; do
        n=$((n + 1))
        [ $n -lt 50 ] || fail "device $device not found; the block devices are $(lsblk -dnpo NAME 2>/dev/null | tr '\n' ' ')"
        sleep 0.2
    done
    device=$(readlink -f "$device")
fi
if is_mounted && answers; then
    echo ready
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
apt="apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq"

# The lock of the package lists has no timeout of its own.
update() {
    end=$(($(date +%s) + 300))
    until failed=$($apt update 2>&1); do
        case $failed in
        *"Could not get lock"*) [ "$(date +%s)" -lt "$end" ] || fail "$failed" ;;
        *) fail "$failed" ;;
        esac
        sleep 1
    done
}

# Why the data folder could not be put on the device, if the engine goes on without it.
failed=

# Puts the data folder on the device. What the folder contains already is moved away, not hidden.
mount_data() {
    other=$(findmnt -nro SOURCE -M $data || true)
    [ -z "$other" ] || fail "$data is on $other already"
    elsewhere=$(findmnt -nro TARGET -S "$device" | head -n 1)
    [ -z "$elsewhere" ] || fail "$device is mounted on $elsewhere"
    if [ -n "$(ls -A $data/containers 2>/dev/null)" ] && [ "$force" != true ]; then
        fail "the engine has containers, which would be left on the old disk; remove them, or use force=true"
    fi
    status=0
    blkid -p "$device" >/dev/null || status=$?
    case $status in
    0) ;;
    2)
        if ! command -v mkfs.ext4 >/dev/null; then
            update
            $apt install -y --no-install-recommends e2fsprogs >&2
        fi
        mkfs.ext4 -q "$device"
        ;;
    *) fail "blkid cannot identify the content of $device" ;;
    esac
    # Not a partition table, swap space or a part of a logical volume.
    [ "$(blkid -p -o value -s USAGE "$device")" = filesystem ] ||
        fail "$device contains data that is not a file system"
    uuid=$(blkid -p -o value -s UUID "$device") || true
    [ -n "$uuid" ] || fail "the file system of $device has no UUID"
    # What cannot be mounted elsewhere cannot be mounted there either: the engine runs on.
    trial=$(mktemp -d)
    mount "$device" "$trial" || {
        rmdir "$trial"
        fail "$device could not be mounted"
    }
    umount "$trial"
    rmdir "$trial"
    if [ -d /run/systemd/system ]; then
        systemctl stop docker.socket docker.service 2>/dev/null || true
    elif pid=$(cat /var/run/docker.pid 2>/dev/null) && kill "$pid" 2>/dev/null; then
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    before=
    if [ -n "$(ls -A $data 2>/dev/null)" ]; then
        before="$data.before-$(date +%s)"
        mv $data "$before"
    fi
    mkdir -p $data
    chmod 710 $data
    if ! mount "$device" $data; then
        if [ -n "$before" ]; then
            rmdir $data
            mv "$before" $data
        fi
        failed="$device could not be mounted on $data; the data of the engine is where it was"
        return
    fi
    grep -q "^UUID=$uuid " /etc/fstab 2>/dev/null ||
        printf 'UUID=%s %s auto defaults,nofail 0 2\n' "$uuid" $data >>/etc/fstab
}

# Limits the logs of containers, which otherwise fill the disk, and keeps containers running while the
# engine restarts. A configuration that exists is not changed.
configure() {
    [ -e /etc/docker/daemon.json ] && return
    settings=
    if [ "$log_rotation" = true ]; then
        settings='"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}'
    fi
    if [ "$live_restore" = true ]; then
        settings="$settings${settings:+, }\"live-restore\": true"
    fi
    [ -n "$settings" ] || return 0
    mkdir -p /etc/docker
    echo "{$settings}" >/etc/docker/daemon.json
}

# Adds Docker's own package repository (https://docs.docker.com/engine/install/debian/).
add_repository() {
    case $ID in
    debian | ubuntu) ;;
    *) fail "Docker has no repository for ${PRETTY_NAME:-$ID}; use repository=distribution" ;;
    esac
    $apt install -y --no-install-recommends ca-certificates >&2
    mkdir -p /etc/apt/keyrings
    source=https://download.docker.com/linux/$ID
    key=/etc/apt/keyrings/docker.asc list=/etc/apt/sources.list.d/docker.list
    /usr/lib/apt/apt-helper -q download-file "$source/gpg" $key.new >&2 ||
        fail "$source is not reachable; use repository=distribution"
    mv $key.new $key
    chmod 644 $key
    echo "deb [arch=$(dpkg --print-architecture) signed-by=$key] $source $VERSION_CODENAME stable" >$list
    packages="docker-ce docker-ce-cli containerd.io docker-buildx-plugin iptables"
}

did=started
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    ID=unknown ID_LIKE=
    [ -r /etc/os-release ] && . /etc/os-release
    case " $ID $ID_LIKE " in
    *" debian "* | *" ubuntu "*) ;;
    *) fail "this is ${PRETTY_NAME:-$ID}; hitc sets up Docker on Debian and Ubuntu only" ;;
    esac
    command -v apt-get >/dev/null || fail "apt-get is missing"
    update
    packages="docker.io iptables ca-certificates"
    # The command is a package of its own since Debian 13.
    if apt-cache show docker-cli >/dev/null 2>&1; then
        packages="$packages docker-cli"
    fi
    if [ "$repository" = docker ]; then
        add_repository
        update
    fi
    # Before the installation, which starts the engine.
    if [ -n "$device" ]; then
        mount_data
    fi
    configure
    # shellcheck disable=SC2086
    $apt install -y --no-remove --no-install-recommends $packages >&2
    did=installed
elif ! answers; then
    configure
fi
is_mounted || [ -n "$failed" ] || mount_data

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
[ -z "$failed" ] || fail "$failed"
echo "$did"
