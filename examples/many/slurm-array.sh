#!/bin/sh
# Squash every image of a list, one task for each: a job array of Slurm.
#
#   sbatch --array="1-$(wc -l <images.txt)" slurm-array.sh
#
# Submit it from a folder that all nodes share, with images.txt, the archives, and squash.pyz. Each line of images.txt has
# an archive and its base, as `squash -f` takes it. Squashed archives and reports are written to the folder squashed/.
#SBATCH --job-name=squash-images
#SBATCH --cpus-per-task=2
#SBATCH --mem=512M
set -eu
line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" images.txt)
archive=${line%% *} base=${line#* }
if [ -z "$line" ]; then
    echo "images.txt has no line $SLURM_ARRAY_TASK_ID" >&2
    exit 2
fi
done=squashed/$archive.json
if [ -e "$done" ]; then # by an earlier run
    exit 0
fi
mkdir -p "$(dirname "$done")"
exec python3 squash.pyz -q -f "$base" --verify --report "$done" -o "squashed/$archive" "$archive"
