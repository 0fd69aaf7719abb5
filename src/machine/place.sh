# Functions that write files where other users may change folders and links at any time.
#
# The working directory stays the same folder even if another user renames it, and a name without a
# slash cannot lead elsewhere. So the folders of a path are entered one by one, and what was entered
# is compared with what was expected. Files are completed in a folder of their own that other users
# cannot enter, and renamed from there. Uses only options that BusyBox supports.

# The user ids that may change what we rely on: root, ourselves, and the user who called sudo.
self=$(id -u)
is_trusted() { case $1 in 0|"$self"|"${SUDO_UID:-0}") ;; *) return 1 ;; esac; }
fail() { echo "$path: $*" >&2; exit 1; }

# Looks at the working directory. `here` is its identity. `safe` is `yes` if only trusted users can
# change its entries, `sticky` if others can change only their own ones, else `no`.
look() {
    set -- $(stat -c '%d:%i %u %g %a' .)
    [ $# = 4 ] || exit 1
    here=$1 safe=no
    is_trusted "$2" || return 0
    case $4 in
        *[2367]) ;;
        *[2367]?) [ "$3" != 0 ] || safe=yes ;;
        *) safe=yes ;;
    esac
    case $safe$4 in no[1357]???) safe=sticky ;; esac
}

# Enters a folder of the working directory; follows a link only if no other user can change it.
# Creates the folder if `make` is `all`, or `last` and it is the last one.
enter() {
    if [ -L "./$1" ]; then
        [ "$safe" != sticky ] || ! is_trusted "$(stat -c %u "./$1")" || safe=yes
        [ "$safe" = yes ] || fail "\`$1\` is a link that another user can change"
        links=$((links + 1))
        [ "$links" -le 40 ] || fail "too many links"
        rest=$(readlink "./$1")${rest:+/$rest}
        case $rest in /*) cd -P / ;; esac
        look
        return
    fi
    if [ ! -d "./$1" ]; then
        case $make:$rest in
            all:*|last:) mkdir "./$1" ;;
            *)
                why=$(ls -d "./$1" 2>&1 >/dev/null) || case $why in
                    *"No such file"*) fail "folder \`$1\` not found: create it, or set folders=true" ;;
                    *) fail "${why#ls: }" ;;
                esac
                fail "\`$1\` is not a folder"
                ;;
        esac
        # Some file systems give a folder another number when it is first written to.
        look
    fi
    from=$here was=$safe
    cd -P "./$1"
    look
    [ "$was" = yes ] || [ "$(stat -c %d:%i ..)" = "$from" ] || fail "\`$1\` was replaced by another user"
}

# Goes to a folder, from the working directory unless the path is absolute.
walk() {
    rest=$1 links=0
    case $rest in /*) cd -P / ;; esac
    look
    while [ -n "$rest" ]; do
        step=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
        case $step in
            ''|.) ;;
            ..) cd -P ..; look ;;
            *) enter "$step" ;;
        esac
    done
}

# Enters a folder of the working directory that other users cannot enter.
enter_private() {
    stage=$1
    parent=$(stat -c %d:%i .)
    cd -P "$stage"
    set -- $(stat -c '%d:%i %u %f' . ..)
    # Only the owner may enter it. It may have the set-group-id bit of the folder that it is in.
    case "$2 $3 $4" in
        "$self 41c0 $parent"|"$self 45c0 $parent") ;;
        *) fail "\`$stage\` was replaced by another user" ;;
    esac
}

# Creates a private folder for this run and enters it. It is removed at the end.
stage_new() {
    stage=$(mktemp -d ./.hitc.XXXXXXXXXX)
    enter_private "$stage"
    trap clear_stage EXIT
    trap 'exit 1' HUP INT TERM
}

# Enters the private folder of an interrupted upload, which is created if it is missing.
stage_part() {
    mkdir -m 700 "$1" 2>/dev/null || [ -d "$1" ] || mkdir -m 700 "$1"
    enter_private "$1"
}

clear_stage() {
    rm -rf ./*
    cd -P ..
    rmdir "$stage"
}

# Gives the complete file `file` its owner and mode, and renames it to `name` in the folder above.
# An existing file keeps its owner and mode.
finish() {
    new_mode=$1 owner=$2 mode=$3 private=$4
    # Only a link that no other user can change is followed.
    if [ "$safe" = yes ] && [ -e "../$name" ]; then
        set -- $(stat -Lc '%u:%g %a %f' "../$name")
    elif [ -e "../$name" ] || [ -L "../$name" ]; then
        set -- $(stat -c '%u:%g %a %f' "../$name")
    else
        set --
    fi
    case $# in 3) ;; 0) set -- '' '' a1ff ;; *) exit 1 ;; esac
    case $3 in
        8???)
            chown -h "$1" file
            new_mode=$2
            # Another user may have chosen it: no set-user-id bit then.
            [ "$safe" = yes ] || case $2 in ????) new_mode=${2#?} ;; esac
            ;;
        a???) ;;
        4???) fail "is a folder" ;;
        *) fail "is not a regular file" ;;
    esac
    [ -z "$owner" ] || chown -h "$owner" file
    chmod "${mode:-$new_mode}" file
    # The permissions of a file that exists may be for another content.
    [ -n "$mode" ] || [ "$private" != private ] || chmod o= file
    # Without -T, which old versions of BusyBox lack, mv would move into a folder.
    if [ "$safe" = yes ]; then mv -f file "../$name"; else mv -fT file "../$name"; fi
}
