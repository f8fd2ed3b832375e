#!/bin/sh
# Squash an image of the docker daemon after its build: squash-step.sh IMAGE BASE [REPORT.md]
#
# Copy it into your repository. The squashed image gets the name of IMAGE; BASE is what -f takes (a chain ID,
# a number of rows, docker-daemon:NAME). Thresholds come from the environment and are checked before anything changes:
# SQUASH_MIN_EFFICIENCY=0.9, SQUASH_MAX_WASTED=20MB. Exit codes are squash's: 1 a threshold is missed or the result is
# not verified, 3 damaged or not an image, 4 base not found, 6 disk full, 7 the daemon.
#
# Only the folder of pip is worth caching. Keep the unsquashed image under another tag if the legacy builder is to
# take it for --cache-from.
set -eu
image=$1
base=$2
report=${3:-squash-report.md}
archive=$(mktemp "${TMPDIR:-/var/tmp}/squash-step.XXXXXX")
trap 'rm -f "$archive"' EXIT

docker save "$image" >"$archive"
if [ -n "${SQUASH_MIN_EFFICIENCY:-}${SQUASH_MAX_WASTED:-}" ]; then
    squash inspect --quiet \
        ${SQUASH_MIN_EFFICIENCY:+--min-efficiency "$SQUASH_MIN_EFFICIENCY"} \
        ${SQUASH_MAX_WASTED:+--max-wasted "$SQUASH_MAX_WASTED"} "$archive"
fi
# Not through a pipe: if squash failed, the exit code would be that of a `docker load` without an image.
squash -f "$base" --verify --report "$report" "$archive" -o "$archive"
docker load <"$archive"
