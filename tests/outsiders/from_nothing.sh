#!/usr/bin/env bash
# A stranger's first minutes: from an empty folder to a task that is installed, tested, trained and swept.
#
#   from_nothing.sh FOLDER [PYTHON] [TRIALS]
#
# FOLDER is made, with an environment of its own that sees the packages of PYTHON, where ftr is installed. Prints what the
# commands print, and at the end how long each took. Ends with the code of the first that fails.
set -euo pipefail

folder=$1
python=${2:-python3}
trials=${3:-4}
mkdir "$folder"
cd "$folder"

# What `python -m venv` and `pip install 'ftr[offline,testing]'` would make, without the downloads. The line also reads the
# other environment's own path files, so that an ftr installed there in editable mode is seen.
"$python" -m venv --without-pip venv
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
echo "import site; site.addsitedir('$("$python" -c "$purelib")')" >"$(venv/bin/python -c "$purelib")/packages.pth"
for program in ftr pip pytest; do
    printf '#!/bin/sh\nexec "%s/venv/bin/python" -m %s "$@"\n' "$PWD" "$program" >"venv/bin/$program"
    chmod +x "venv/bin/$program"
done
PATH=$PWD/venv/bin:$PATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
# What builds the plugin: that which is here, else the index's.
build=()
if python -c 'import hatchling, editables' 2>/dev/null; then
    build=(--no-build-isolation)
fi

times=() sum=0
step() {
    echo "\$ $*"
    local began
    began=$(date +%s%N)
    "$@"
    local took=$((($(date +%s%N) - began) / 100000000))
    sum=$((sum + took))
    times+=("$(printf '%4d.%d s  %s' $((took / 10)) $((took % 10)) "$*")")
}

step ftr new toxicity
step pip install "${build[@]}" -e ftr-toxicity
step pytest ftr-toxicity
step ftr run task=toxicity
step ftr sweep task=toxicity "trials=$trials"

printf '%s\n' "${times[@]}"
printf '%4d.%d s  in all, %d commands\n' $((sum / 10)) $((sum % 10)) ${#times[@]}
