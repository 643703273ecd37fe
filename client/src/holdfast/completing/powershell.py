"""Completion for PowerShell."""

from __future__ import annotations

from holdfast.completing.spots import REFS, spots_of, values_of
from holdfast.outline import Entry

_POWERSHELL = """\
# PowerShell completion for holdfast. In $PROFILE:  holdfast completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName holdfast -ScriptBlock {{
  param($wordToComplete, $commandAst, $cursorPosition)
  $steps = @{{
{steps}
  }}
  $words = @{{
{words}
  }}
  $refs = @{{
{refs}
  }}
  $values = @{{
{values}
  }}
  $at = ''
  $before = @($commandAst.CommandElements | Select-Object -Skip 1 |
    Where-Object {{ $_.Extent.EndOffset -lt $cursorPosition }} | ForEach-Object {{ $_.ToString() }})
  foreach ($word in $before) {{ if ($steps.ContainsKey("$at $word")) {{ $at = $steps["$at $word"] }} }}
  $last = if ($before.Count) {{ $before[-1] }} else {{ '' }}
  $found = if ($values.ContainsKey("$at $last")) {{ $values["$at $last"] }}
    elseif ($values.ContainsKey("* $last")) {{ $values["* $last"] }}
  if ($null -eq $found) {{
    $found = @($words[$at] | Where-Object {{ $wordToComplete.StartsWith('-') -or -not $_.StartsWith('-') }})
    if ($refs.ContainsKey($at) -and -not $wordToComplete.StartsWith('-')) {{ $found += '@refs' }}
  }}
  if ($found -contains '@refs') {{
    $found = @($found) + @(holdfast list -q 2>$null | ForEach-Object {{ ($_ -split '@')[0] }} | Sort-Object -Unique)
  }}
  $found | Where-Object {{ $_ -notlike '@*' -and $_ -like "$wordToComplete*" }} | ForEach-Object {{
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }}
}}
"""


def powershell(root: Entry) -> str:
    """The script."""
    places = list(spots_of(root))
    steps = [
        f"    {_ps(f'{spot.above} {way}')} = {_ps(spot.at)}"
        for spot in places
        if spot.at
        for way in spot.ways
    ]
    words = [f"    {_ps(spot.at)} = @({', '.join(_ps(word) for word, _ in spot.words)})" for spot in places]
    refs = [f"    {_ps(spot.at)} = $true" for spot in places if REFS in spot.kinds]
    values = [
        f"    {_ps(f'{at} {name}')} = @({', '.join(_ps(word) for word in follows if word)})"
        for at, names, follows in values_of(root)
        for name in names
        if name.startswith("--")
    ]
    return _POWERSHELL.format(
        steps="\n".join(steps), words="\n".join(words), refs="\n".join(refs), values="\n".join(values)
    )


def _ps(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
