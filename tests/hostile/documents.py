"""JSON documents that are none, are too large or too deep, or say what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.builders import image_config, sha256
from tests.hostile.case import GOOD, Case, descriptor, docker, dump, item, oci, refused

MIB = 1 << 20


def _nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


#: Texts that are no JSON document, and what is said of them.
TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON: "),
    "a byte order mark": (b"\xef\xbb\xbf[]", "not valid JSON: "),
    "UTF-16": ("[]".encode("utf-16"), "not valid JSON: "),
    "no UTF-8": (b'["\xff"]', "not valid JSON: "),
    "a surrogate in UTF-8": (b'["\xed\xa0\x80"]', "not valid JSON: "),
    "cut": (b'[{"Config": "c', "not valid JSON: "),
    "two documents": (b"[] []", "not valid JSON: Extra data"),
    "a comment": (b"[] // images", "not valid JSON: Extra data"),
    "a comma too many": (b"[{},]", "not valid JSON: "),
    "single quotes": (b"[{'Config': 'c'}]", "not valid JSON: "),
    "NUL in a string": (b'["\0"]', "not valid JSON: "),
    "a bad escape": (b'["\\x41"]', "not valid JSON: "),
    "NaN": (b"[NaN]", "not valid JSON: NaN is not JSON"),
    "Infinity": (b"[-Infinity]", "not valid JSON: -Infinity is not JSON"),
    "a number beyond all": (b"[1e999]", "not valid JSON: 1e999 is not a number that can be kept"),
    "a number of 5000 digits": (b"[" + b"9" * 5000 + b"]", "not valid JSON: "),
    "a number of a million digits": (b"[" + b"9" * MIB + b"]", "not valid JSON: "),
    "nested 101 times": (_nested(101), "nested more than 100 levels deep"),
    "nested 950 times": (_nested(950), "nested more than 100 levels deep"),
    "nested 100,000 times": (_nested(100_000), "nested more than 100 levels deep"),
    "nested a million times and never closed": (b"[" * MIB, "nested more than 100 levels deep"),
    "objects nested 1,000 times": (
        _nested(1000, b'{"a":', b"}").replace(b":}", b":1}"),
        "nested more than 100 levels deep",
    ),
}

#: What of that a config may have, where it is an object.
LENIENT = dict.fromkeys(
    ("no UTF-8", "a surrogate in UTF-8", "a number beyond all", "nested 101 times"),
    "an object is expected",
)

#: Values that `manifest.json` may not have, the place, and what is said.
ITEMS: dict[str, tuple[Any, str]] = {
    "an object": ({}, "manifest.json: a list is expected"),
    "a string": ("x", "manifest.json: a list is expected"),
    "a number": (1, "manifest.json: a list is expected"),
    "of a string": (["x"], "manifest.json[0]: an object is expected"),
    "of nothing": ([None], "manifest.json[0]: an object is expected"),
    "without images": ([], "manifest.json lists no image"),
    "null": (None, "manifest.json lists no image"),
    "without Config": ([{"Layers": []}], "manifest.json[0].Config: a string is expected"),
    "Config is a list": (item(Config=[]), "manifest.json[0].Config: a string is expected"),
    "Config is empty": (item(Config=""), "manifest.json[0].Config: '': is not in the archive"),
    "Config is a path out": (
        item(Config="../../etc/passwd"),
        "manifest.json[0].Config: '../../etc/passwd': is not in the archive",
    ),
    "Config is absolute": (
        item(Config="/etc/passwd"),
        "manifest.json[0].Config: '/etc/passwd': is not in the archive",
    ),
    "Config is a device": (
        item(Config="/dev/zero"),
        "manifest.json[0].Config: '/dev/zero': is not in the archive",
    ),
    "Config has NUL": (
        item(Config="config.json\0"),
        "manifest.json[0].Config: 'config.json\\x00': is not in the archive",
    ),
    "Config has a lone surrogate": (
        item(Config="\ud800"),
        "manifest.json[0].Config: a string with a lone surrogate",
    ),
    "Config has controls": (
        item(Config="\x1b[31m\n"),
        "manifest.json[0].Config: '\\x1b[31m\\n': is not in the archive",
    ),
    "Layers is a string": (item(Layers="layer.tar"), "manifest.json[0].Layers: a list is expected"),
    "Layers is an object": (item(Layers={}), "manifest.json[0].Layers: a list is expected"),
    "Layers has a number": (item(Layers=[1]), "manifest.json[0].Layers[0]: a string is expected"),
    "Layers is missing": (
        [{"Config": "config.json"}],
        "manifest.json[0].Layers: 0 layers, but the config has 1",
    ),
    "Layers are too many": (
        item(Layers=["layer.tar"] * 2),
        "manifest.json[0].Layers: 2 layers, but the config has 1",
    ),
    "RepoTags is a string": (item(RepoTags="a:1"), "manifest.json[0].RepoTags: a list is expected"),
    "RepoTags has null": (
        item(RepoTags=[None]),
        "manifest.json[0].RepoTags[0]: a string is expected",
    ),
    "RepoTags has no name": (
        item(RepoTags=["a:1", ""]),
        "manifest.json[0].RepoTags[1]: '' is not a valid image name",
    ),
    "RepoTags has capitals": (
        item(RepoTags=["Upper:1"]),
        "manifest.json[0].RepoTags[0]: 'Upper:1' is not a valid image name",
    ),
    "RepoTags has an option": (
        item(RepoTags=["--privileged"]),
        "manifest.json[0].RepoTags[0]: '--privileged' is not a valid image name",
    ),
    "RepoTags has controls": (
        item(RepoTags=["a\x1b[2J:1"]),
        "manifest.json[0].RepoTags[0]: 'a\\x1b[2J:1' is not a valid image name",
    ),
    "RepoTags has half a digest": (
        item(RepoTags=[f"a@sha256:{'0' * 63}"]),
        "manifest.json[0].RepoTags[0]: 'a@sha256:000",
    ),
    "RepoTags has a digest of no name": (
        item(RepoTags=[f"A@sha256:{'0' * 64}"]),
        "manifest.json[0].RepoTags[0]: 'A@sha256:000",
    ),
    "manifest.json is a registry's manifest": (
        {"schemaVersion": 2, "config": {}, "layers": []},
        "manifest.json: is a registry's manifest, as the transport dir: has it; `skopeo copy dir:",
    ),
    "RepoTags has an image ID": (
        item(RepoTags=["0" * 64]),
        "manifest.json[0].RepoTags[0]: '000",
    ),
}


def _changed(**changes: Any) -> dict[str, Any]:
    return {**image_config([GOOD]), **changes}


_ID = f"sha256:{sha256(GOOD)}"
#: Configs that cannot be, and what is said of them.
CONFIGS: dict[str, tuple[Any, str]] = {
    "is a list": ([], "config.json: an object is expected"),
    "is null": (None, "config.json: an object is expected"),
    "without rootfs": ({"os": "linux"}, "config.json.rootfs: an object is expected"),
    "rootfs is a list": (_changed(rootfs=[]), "config.json.rootfs: an object is expected"),
    "diff_ids is an object": (
        _changed(rootfs={"diff_ids": {}}),
        "config.json.rootfs.diff_ids: a list is expected",
    ),
    "diff_ids has a number": (
        _changed(rootfs={"diff_ids": [5]}),
        "config.json.rootfs.diff_ids[0]: a string is expected",
    ),
    "diff_ids has no digest": (
        _changed(rootfs={"diff_ids": ["x"]}),
        "config.json.rootfs.diff_ids[0]: 'x' is not a valid digest",
    ),
    "diff_ids are too many": (
        _changed(rootfs={"diff_ids": [_ID] * 2}),
        "manifest.json[0].Layers: 1 layers, but the config has 2",
    ),
    "history is an object": (_changed(history={}), "config.json.history: a list is expected"),
    "history has a string": (
        _changed(history=["x"]),
        "config.json.history[0]: an object is expected",
    ),
    "history with an odd empty_layer": (
        _changed(history=[{"empty_layer": "yes"}]),
        "config.json.history[0].empty_layer: true or false is expected",
    ),
    "history with an odd created_by": (
        _changed(history=[{"created_by": []}]),
        "config.json.history[0].created_by: a string is expected",
    ),
    "created is a number": (_changed(created=5), "config.json.created: a string is expected"),
    "created has a lone surrogate": (
        _changed(created="\ud800"),
        "config.json.created: a string with a lone surrogate",
    ),
    "os is a list": (_changed(os=[]), "config.json.os: a string is expected"),
    "architecture is an object": (
        _changed(architecture={"a": 1}),
        "config.json.architecture: a string is expected",
    ),
}


def _layouts() -> Iterator[Case]:
    """Yield layouts whose index or manifest is odd."""
    for name, index, says in (
        ("a list", [], "index.json: an object is expected"),
        ("manifests is an object", {"manifests": {}}, "index.json.manifests: a list is expected"),
        ("manifests has null", {"manifests": [None]}, "index.json.manifests[0]: an object is"),
        ("no manifests", {"manifests": []}, "no image that index.json lists is in the archive"),
        (
            "annotations is a list",
            {"manifests": [{**descriptor(GOOD), "annotations": [1]}]},
            "index.json.manifests[0].annotations: an object is expected",
        ),
        (
            "an annotation is a number",
            {"manifests": [{**descriptor(GOOD), "annotations": {"a": 1}}]},
            "index.json.manifests[0].annotations.a: a string is expected",
        ),
        (
            "platform is a string",
            {"manifests": [{**descriptor(GOOD), "platform": "linux"}]},
            "index.json.manifests[0].platform: an object is expected",
        ),
        (
            "of a manifest that is a tar",
            {"manifests": [descriptor(GOOD, "manifest.v1+json")]},
            f"blobs/sha256/{sha256(GOOD)}: not valid JSON",
        ),
        (
            "of a manifest that is not there",
            {"manifests": [descriptor(b"nowhere", "manifest.v1+json")]},
            f"blobs/sha256/{sha256(b'nowhere')}: is not in the archive",
        ),
    ):
        yield refused(f"index: {name}", lambda index=index: oci(index=dump(index)), says)  # type: ignore[misc]
    for name, changes, says, code in (
        ("config is a string", {"config": "x"}, "config: an object is expected", 3),
        ("layers is an object", {"layers": {}}, "layers: a list is expected", 3),
        ("layers has a number", {"layers": [1]}, "layers[0]: an object is expected", 3),
        ("fewer layers than the config", {"layers": []}, "layers: 0 layers, but the config", 3),
        ("mediaType is a number", {"layers": [descriptor(GOOD, mediaType=1)]}, "layers[0].med", 3),
    ):
        text = oci_manifest(changes)
        yield Case(
            f"manifest: {name}",
            lambda changes=changes: oci(manifest=changes),  # type: ignore[misc]
            code,
            f"blobs/sha256/{sha256(text)}.{says}",
        )


def oci_manifest(changes: dict[str, Any]) -> bytes:
    """Return the manifest of the oci-archive with these changes."""
    config = dump(image_config([GOOD]))
    return dump(
        {
            "schemaVersion": 2,
            "config": descriptor(config, "config.v1+json"),
            "layers": [descriptor(GOOD)],
            **changes,
        }
    )


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    for name, (text, says) in TEXTS.items():
        yield refused(f"manifest.json: {name}", docker(text), f"manifest.json: {says}")
        place = "manifest.json[0].Config: " if "the document has" in says else ""
        of_config = LENIENT.get(name, says).replace("100 levels", "400 levels")
        yield refused(f"config: {name}", docker(item(), text), f"{place}config.json: {of_config}")
        yield refused(f"index.json: {name}", oci(index=text), f"index.json: {says}")
    for name, (value, says) in ITEMS.items():
        yield refused(f"manifest.json: {name}", docker(value), says)
    for name, (value, says) in CONFIGS.items():
        yield refused(f"config: {name}", docker(item(), dump(value)), says)
    yield from _layouts()
    text = dump(image_config([GOOD]))
    yield refused(
        "index: an annotation of a long name with controls",
        oci(index=dump({"manifests": [{**descriptor(GOOD), "annotations": {"\x1b" * 9999: 1}}]})),
        "index.json.manifests[0].annotations.\\x1b\\x1b",
    )
    yield refused(
        "config: a key with controls twice",
        docker(item(), text[:-1] + b', "\\u001b[2J": 1, "\\u001b[2j": 1}'),
        "config.json.\\x1b[2",
    )
    changes: dict[str, Any] = {"digest": "sha256:" + "\x1b" * 99999, "mediaType": []}
    for name, value in changes.items():
        pointer = {**descriptor(GOOD), name: value}
        yield refused(
            f"index: a {name} that is none",
            oci(index=dump({"manifests": [pointer]})),
            f"index.json.manifests[0].{name}: ",
        )
    for key in ("os", "rootfs", "history"):
        for other in (key.upper(), key.replace("s", "\u017f")):  # Go takes that for an s
            if other != key:
                more = b', "%s": null}' % other.encode()
                says = f"config.json.{other}: the key occurs twice"
                yield refused(f"config: {key} and {other}", docker(item(), text[:-1] + more), says)
    for key in ("layers", "config", "schemaVersion"):
        twin = {key.upper(): None}
        yield refused(
            f"manifest: {key} and {key.upper()}",
            oci(manifest=twin),
            f"blobs/sha256/{sha256(oci_manifest(twin))}.{key}: the key occurs twice",
        )
    for value in (5, True, [], {}):
        yield refused(
            f"index: a mediaType of {value}",
            oci(index=dump({"manifests": [], "mediaType": value})),
            "index.json.mediaType: a string is expected",
        )
        manifest = oci_manifest({"mediaType": value})
        yield refused(
            f"manifest: a mediaType of {value}",
            oci(manifest={"mediaType": value}),
            f"blobs/sha256/{sha256(manifest)}.mediaType: a string is expected",
        )
    yield refused(
        "manifest.json: Layers in two cases",
        docker([{**item()[0], "layers": []}]),
        "manifest.json[0].Layers: the key occurs twice",
    )
    yield refused(
        "config: a label twice",
        docker(
            item(), dump(_changed(config={"Labels": {"a": "1", "b": "2"}})).replace(b'"b"', b'"a"')
        ),
        "config.json: not valid JSON: the key 'a' occurs twice",
    )
    for name, config in (
        ("an integer of 4000 digits", _changed(x=10**3999)),
        ("nested 120 times", text[:-1] + b', "x":' + _nested(120) + b"}"),
        ("nested 400 times", text[:-1] + b', "x":' + _nested(399) + b"}"),
        ("a number beyond all in it", text[:-1] + b', "x": [1e999, -1e999]}'),
        ("a key twice under an unknown one", text[:-1] + b', "x": [{"a": {"b": 1, "b": 2}}]}'),
        (
            "lone surrogates in a row",
            _changed(history=[{"created_by": "\ud800", "comment": "\udfff"}]),
        ),
        ("controls in every text", _changed(author="\x1b[31m\x00", os="\x1b]0;x\x07")),
        ("4 MB of spaces", text + b" " * 4_000_000),
    ):
        data = config if isinstance(config, bytes) else dump(config)
        yield Case(f"config: {name}", lambda data=data: docker(item(), data), 0, "", (GOOD,))  # type: ignore[misc]
