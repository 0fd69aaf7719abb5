#compdef hitc
# Completion of hitc for zsh: source <(hitc completions zsh), after compinit.
_hitc() {
    local -a whole begun
    local line value entry
    for line in "${(@f)$(COMPLETE=zsh hitc -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        value=${line%%$'\t'*}
        entry=${${value//\\/\\\\}//:/\\:}
        [[ $line == *$'\t'* ]] && entry+=":${line#*$'\t'}"
        # No space after `name=`, `folder/` and in lists.
        if [[ $value == *[=/,:] ]]; then
            begun+=("$entry")
        else
            whole+=("$entry")
        fi
    done
    [[ -n $begun ]] && _describe -V 'values' begun -S ''
    [[ -n $whole ]] && _describe -V 'values' whole
}
compdef _hitc hitc
