# Completion of hitc for bash: source <(hitc completions bash)
_hitc() {
    # COMP_POINT counts bytes.
    local LC_ALL=C IFS=$'\n'
    COMPREPLY=($(COMPLETE=bash _HITC_BREAKS="$COMP_WORDBREAKS" \
        hitc -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    # No space after `name=`, `folder/` and in lists.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/,:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o nosort -F _hitc hitc 2>/dev/null || complete -F _hitc hitc
