#!/bin/bash
# Build every harness of tests/fuzz for OSS-Fuzz, in the folder of the sources: fuzz_NAME in $OUT, with its seeds and its
# dictionary. To run a harness here, use scripts/fuzz.
set -euo pipefail
pip3 install '.[fast,zstd]'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m tests.fuzz.seeds "$work/seeds"
for harness in walk documents command inflate; do
    name=fuzz_$harness
    printf 'import sys\n\nsys.argv.insert(1, "%s")\nimport tests.fuzz.__main__\n' "$harness" >"$work/$name.py"
    # Modules that are imported by a computed name must be listed.
    compile_python_fuzzer "$work/$name.py" --paths "$PWD" --hidden-import "tests.fuzz.$harness" \
        --collect-submodules squasher
    (cd "$work/seeds/$harness" && find . -type f | zip -q "$OUT/${name}_seed_corpus.zip" -@)
    dictionary=$PWD/scripts/oss-fuzz/$harness.dict
    if [ -e "$dictionary" ]; then
        cp "$dictionary" "$OUT/$name.dict"
    fi
done
