# Writes the files of a folder from an archive on standard input.
#
# The archive has: `N/NAME`, the files of the folder number N; `folders`, a line `N PATH` for each
# folder, its path below the target escaped as for `printf %b`, with a dot at its end; `moved/N` and `removed/N`, the files
# to move there and to remove there; `owners`, a line `N OWNER` for each owner that files keep, and
# `owned/N`, those files. Names end with a NUL.
[ -d /proc/self/fd ] || fail "no /proc on this machine"
exec 4<.
stage_new
exec 3<.
# The files get their owners below; a new one has the group that the folder gives it.
tar -xpof -
[ -f complete ] || fail "the archive is incomplete"
while read -r number kept; do
    xargs -0 chown -h "$kept" <"owned/$number"
done <owners
[ -z "$owner" ] || find . -type f -exec chown -h "$owner" {} +
# The stage is not the working directory any more.
trap 'cd -P /proc/self/fd/3 && clear_stage' EXIT
make=all
while read -r number below; do
    case $below in *\\*) below=$(printf %b "$below") ;; esac
    cd -P /proc/self/fd/4
    walk "${below%.}"
    if [ -f "/proc/self/fd/3/removed/$number" ]; then
        xargs -0 rm -f -- <"/proc/self/fd/3/removed/$number"
    fi
    if [ -f "/proc/self/fd/3/moved/$number" ]; then
        xargs -0 sh -c 'mv -f -- "$@" .' sh <"/proc/self/fd/3/moved/$number"
    fi
done <folders
