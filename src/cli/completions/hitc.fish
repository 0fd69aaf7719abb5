# Completion of hitc for fish: hitc completions fish | source
complete --keep-order --no-files --command hitc --arguments '(COMPLETE=fish hitc -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor) 2>/dev/null)'
