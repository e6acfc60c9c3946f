#!/bin/sh
# Runs one stage of the Makefile and says which, how it ended and how long it took: stage.sh NAME COMMAND...
set -u
name=$1
shift
echo "== $name"
begin=$(date +%s)
status=0
"$@" || status=$?
took=$(($(date +%s) - begin))
if [ "$status" -eq 0 ]; then
    echo "== $name: ok, $took s"
else
    echo "== $name: FAILED with status $status after $took s" >&2
fi
exit "$status"
