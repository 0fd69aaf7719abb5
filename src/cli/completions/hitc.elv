# Completion of hitc for elvish: eval (hitc completions elvish | slurp)
set edit:completion:arg-completer[hitc] = { |@words|
    put (env COMPLETE=elvish hitc -- $@words) | to-lines
}
