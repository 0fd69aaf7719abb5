# Completion of hitc for PowerShell: hitc completions powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName hitc -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $before = $env:COMPLETE;
    $env:COMPLETE = "powershell";
    $line = $commandAst.Extent.Text
    $line = $line.Substring(0, [math]::Min($cursorPosition, $line.Length));
    if ($wordToComplete -eq "") {
        $line += " ''";
    }
    $results = Invoke-Expression @"
& hitc -- $line
"@;
    if ($null -eq $before) {
        Remove-Item Env:\COMPLETE;
    } else {
        $env:COMPLETE = $before;
    }
    $results | ForEach-Object {
        $value, $help = $_.Split("`t");
        if (-not $help) {
            $help = $value;
        }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', "$help")
    }
};
