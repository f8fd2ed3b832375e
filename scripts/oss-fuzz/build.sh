#!/bin/bash
# Build every harness of tests/fuzz as OSS-Fuzz wants it, in the folder of the sources; see scripts/fuzz to run one here.
# Made in $OUT: fuzz_NAME with its seeds and its dictionary.
set -euo pipefail
pip3 install '.[fast,zstd]'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m tests.fuzz.seeds "$work/seeds"
for harness in walk documents command inflate; do
    name=fuzz_$harness
    printf 'import sys\n\nsys.argv.insert(1, "%s")\nimport tests.fuzz.__main__\n' "$harness" >"$work/$name.py"
    # What is imported by a name that is computed must be named.
    compile_python_fuzzer "$work/$name.py" --paths "$PWD" --hidden-import "tests.fuzz.$harness" \
        --collect-submodules squasher
    (cd "$work/seeds/$harness" && find . -type f | zip -q "$OUT/${name}_seed_corpus.zip" -@)
    dictionary=$PWD/scripts/oss-fuzz/$harness.dict
    if [ -e "$dictionary" ]; then
        cp "$dictionary" "$OUT/$name.dict"
    fi
done
