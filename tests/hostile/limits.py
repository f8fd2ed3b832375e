"""Archives that cross a limit: each would cost far more than it is long."""

from __future__ import annotations

from collections.abc import Iterator

from tests.builders import Dir, File, Hardlink, Symlink, archive, image_config, layer, sha256
from tests.hostile.case import (
    GOOD,
    Case,
    descriptor,
    docker,
    dump,
    image,
    in_layer,
    item,
    oci,
    refused,
)


def index_of_indexes() -> bytes:
    """Return a layout whose index names an index 100 times, and so on: a million images."""
    config = dump(image_config([GOOD]))
    manifest = dump({"config": descriptor(config, "config.v1+json"), "layers": [descriptor(GOOD)]})
    pointer = descriptor(manifest, "manifest.v1+json")
    documents = [manifest]
    for _ in range(3):
        documents.append(dump({"manifests": [pointer] * 100}))
        pointer = descriptor(documents[-1], "index.v1+json")
    return oci(*documents, index=dump({"manifests": [pointer]}))


def names_with_long_annotations() -> bytes:
    """Return an archive of both forms; each of its names would repeat the annotation."""
    config = dump(image_config([GOOD]))
    blob = {"config": f"blobs/sha256/{sha256(config)}", "layer": f"blobs/sha256/{sha256(GOOD)}"}
    manifest = dump({"config": descriptor(config, "config.v1+json"), "layers": [descriptor(GOOD)]})
    pointer = descriptor(manifest, "manifest.v1+json", annotations={"a": "a" * 100_000})
    names = [f"a:{i}" for i in range(200)]
    docker_side = [{"Config": blob["config"], "RepoTags": names, "Layers": [blob["layer"]]}]
    return oci(
        manifest,
        index=dump(
            {"manifests": [pointer] + [{**pointer, "annotations": _named(n)} for n in names]}
        ),
        members={"manifest.json": dump(docker_side)},
    )


def _named(name: str) -> dict[str, str]:
    return {"io.containerd.image.name": f"docker.io/library/{name}", "a": "a" * 50_000}


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    yield refused(
        "limit: an index in an index, a million images",
        index_of_indexes,
        "blobs/sha256/",
        5,
    )
    yield refused(
        "limit: a config of more than 16 MiB",
        lambda: docker(item(), dump({**image_config([GOOD]), "x": "x" * (16 << 20)})),
        "manifest.json[0].Config: config.json: the document has ",
        5,
    )
    yield refused(
        "limit: a config of lists without end",
        lambda: docker(item(), dump({**image_config([GOOD]), "x": [[]] * (3 << 20)})),
        "manifest.json[0].Config: config.json: documents that take more than 256 MiB of memory",
        5,
    )
    yield Case(
        "limit: a config of 9 MiB, which docker loads",
        lambda: docker(item(), dump({**image_config([GOOD]), "x": "x" * (9 << 20)})),
        0,
        "",
        (GOOD,),
    )
    config = dump({**image_config([GOOD]), "x": "x" * 3_000_000})
    items = [{**item()[0], "RepoTags": None, "Layers": ["./" * i + "layer.tar"]} for i in range(40)]
    yield refused(
        "limit: one large config for many images",
        lambda: docker(items, config),
        "config.json: documents that take more than 256 MiB of memory",
        5,
    )
    many = dump(image_config([GOOD] * 1001))
    yield refused(
        "limit: 1,001 layers",
        lambda: docker(item(Layers=["layer.tar"] * 1001), many),
        "manifest.json[0].Layers: 1001 layers, but engines take fewer than 1000",
    )
    yield refused(
        "limit: names that each repeat long annotations",
        names_with_long_annotations,
        "the image names make the index too large",
    )
    deep = b"/".join([b"d"] * 2000)
    yield in_layer(
        "limit: folders that nobody spelled",
        "'",
        *(File(b"%d/" % i + deep + b"/f") for i in range(60)),
    )
    yield in_layer(
        "limit: one chain of folders behind many symlinks",
        "'",
        Dir(deep),
        *(Symlink(b"s%d" % i, b".") for i in range(60)),
        *(File(b"s%d/" % i + deep[:-20] + b"/f") for i in range(60)),
    )
    yield refused(
        "limit: a large attribute for each of a thousand names",
        lambda: image(
            layer(
                File(b"f", b"x", xattrs={b"user.a": b"v" * 900_000}),
                *(Hardlink(b"l%d" % i, b"f") for i in range(100)),
            )
        ),
        "the new headers are far larger than the image: a trap for readers",
    )
    attributes = {b"user.a": b"v" * ((1 << 20) - 200)}
    yield refused(
        "limit: an attribute that fits no header with a long name",
        lambda: archive(
            [
                layer(Dir(b"n" * 250), Symlink(b"s", b"n" * 250),
                      File(b"s/" + b"m" * 90, b"x", xattrs=attributes)),
                GOOD,
            ],
            form="podman",
        ),
        "'nnn",
    )  # fmt: skip
    hops = [Symlink(b"s%d" % i, b"./" * 2000 + b"s%d" % (i + 1)) for i in range(20)]
    yield in_layer(
        "limit: symlinks of thousands of components, and a file in them",
        "'s0': too many symbolic links",
        *hops,
        File(b"s0/f"),
    )
    yield in_layer(
        "limit: symlinks of thousands of components, and a hard link through them",
        "'h': hard link to 's0/f': 's0': too many symbolic links",
        *hops,
        Hardlink(b"h", b"s0/f"),
    )
    yield in_layer(
        "limit: hard links through a long symlink, and one that changes between them",
        "'l8': hard link to 's/f': 's': too many symbolic links",
        File(deep + b"/f"),
        Symlink(b"s", deep),
        *(
            part
            for i in range(20)
            for part in (Symlink(b"x", b"%d" % i), Hardlink(b"l%d" % i, b"s/f"))
        ),
    )
    yield in_layer(
        "limit: a symlink that goes up from deep below, again and again",
        "'s': too many symbolic links",
        Dir(b"/".join([b"e"] * 200)),
        Symlink(b"s", b"/".join([b"e"] * 200 + [b"../e"] * 200)),
        File(b"s/f"),
    )
