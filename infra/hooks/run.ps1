# Runs a step of infra/azd.py, prepare or release, with the Python that the function app runs.
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet("prepare", "release")]
    [string] $Step
)

# Windows PowerShell takes what a program writes to its standard error for an error of the script.
$ErrorActionPreference = "Continue"
Set-Location -LiteralPath (Join-Path $PSScriptRoot "../..")

$check = "import sys; sys.exit(sys.version_info[:2] != (3, 13))"
$candidates = @("py -3.13", "python3.13", "python3", "python")
if ($env:PYTHON) {
    $candidates = @($env:PYTHON) + $candidates
}

foreach ($candidate in $candidates) {
    $command = $candidate
    $options = @()
    if ($candidate -eq "py -3.13") {
        $command = "py"
        $options = @("-3.13")
    }
    if (-not (Get-Command $command -ErrorAction SilentlyContinue)) {
        continue
    }
    # A name on the path may be an alias that only opens the Microsoft Store.
    & $command @options -c $check 2> $null
    if ($LASTEXITCODE -eq 0) {
        & $command @options -m infra.azd $Step
        exit $LASTEXITCODE
    }
}

[Console]::Error.WriteLine("Python 3.13 is missing: the package holds bytecode for the version that the function app runs.")
[Console]::Error.WriteLine("Install it, or name it: azd env set PYTHON C:\path\to\python.exe")
exit 1
