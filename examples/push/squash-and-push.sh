#!/bin/sh
# Squash an image above layers that the registry already has, and push it: squash-and-push.sh ARCHIVE BELOW NAME
#
#   ARCHIVE  the built image, for one platform: `docker buildx build --output type=oci,dest=app.tar .`, or with buildah
#            `buildah push app oci-archive:app.tar`
#   BELOW    an image in the registry whose layers are kept: the base that FROM names, or for an update the last
#            release. One new layer lies above them
#   NAME     the name to push to, such as registry.example.com/app:1.0
#
# It needs no daemon and no root. Only the new layer and the config are uploaded, if BELOW is in the same registry: the
# registry mounts its layers from there. If COSIGN_KEY names a cosign key file, the result is signed, without a
# transparency log. The last line is the pushed image with its digest. Exit codes are those of squash, or 1.
set -eu
archive=$1 below=$2 name=$3
case ${name##*/} in *:*) repository=${name%:*} ;; *) repository=$name ;; esac
work=$(mktemp -d "${TMPDIR:-/var/tmp}/squash-and-push.XXXXXX")
trap 'rm -rf "$work"' EXIT

# skopeo remembers from which repository it fetched a blob, and lets the registry mount it from there.
skopeo copy --quiet "docker://$below" "oci-archive:$work/below.tar"
squash --onto "$work/below.tar" "$archive" --verify --digestfile "$work/digest" -o "oci-archive:$work/squashed.tar"
skopeo copy --quiet "oci-archive:$work/squashed.tar" "docker://$name"
pushed=$repository@$(cat "$work/digest")
if [ -n "${COSIGN_KEY:-}" ]; then
    cosign sign --yes --key "$COSIGN_KEY" --use-signing-config=false --tlog-upload=false "$pushed" >&2
fi
echo "$pushed"
