# Completion of hitc for PowerShell: hitc completions powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName hitc -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # The words as they are written: a variable or a command among them is not evaluated.
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value }
            else { $_.Extent.Text }
        })
    $before = $env:COMPLETE
    $env:COMPLETE = "powershell"
    $results = & hitc -- hitc @words $wordToComplete 2>$null
    if ($null -eq $before) {
        Remove-Item Env:\COMPLETE
    } else {
        $env:COMPLETE = $before
    }
    $results | ForEach-Object {
        $value, $help = $_.Split("`t")
        if (-not $help) {
            $help = $value
        }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', "$help")
    }
}
