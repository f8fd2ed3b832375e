"""squasher.image: documents are read strictly, and edited without touching another byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from squasher.digest import Digest
from squasher.errors import DocumentError, SquasherError, UnsupportedImageError
from squasher.image import configs, documents, manifests, references
from squasher.image.configs import HistoryEntry, edit_config, parse_config

A, B = Digest.of(b"a"), Digest.of(b"b")


def config(text: str) -> configs.ImageConfig:
    """Return the config of `text`, with DIFFS in place of two diff_ids."""
    return parse_config(text.replace("DIFFS", json.dumps([str(A), str(B)])).encode())


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}{}",
        b"nothing",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * 5000,
        b" " * (20 << 20) + b"1",
    ],
    ids=range(14),
)
def test_what_is_no_json_document_is_an_error(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^manifest\.json: "):
        documents.load(data, "manifest.json")


def test_load() -> None:
    assert documents.load(b' {"a": [1, 2.5, null, "x"]} ', "") == {"a": [1, 2.5, None, "x"]}


def test_keys_are_found_as_go_finds_them() -> None:
    with pytest.raises(DocumentError, match="occurs twice"):
        documents.field({"layers": 1, "Layers": 2}, "Layers")
    assert documents.field({"LAYERS": 1}, "Layers") == 1
    assert documents.field({}, "Layers") is None


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (documents.as_object, [{}, {"a": 1}], [None, [], "", 1]),
        (documents.as_list, [[], [1]], [{}, "", 1, False]),
        (documents.as_text, ["", "x"], [None, 1, [], {}, "\ud800"]),
        (documents.as_size, [0, 1, 1 << 70], [None, -1, 1.0, True, "1"]),
    ],
)
def test_a_value_is_what_its_place_demands(read: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert read(value, "here") == value
    for value in bad:
        with pytest.raises(DocumentError, match=r"^here: "):
            read(value, "here")


def test_null_is_an_empty_list() -> None:
    assert documents.as_list(None, "") == []


def test_a_digest_says_where_it_stands() -> None:
    assert documents.as_digest(str(A), "here") == A
    for bad in (None, "x"):
        with pytest.raises(DocumentError, match=r"^here: "):
            documents.as_digest(bad, "here")
    with pytest.raises(UnsupportedImageError, match="not SHA-256"):
        documents.as_digest("sha512:" + "0" * 128, "here")


# ---------------------------------------------------------------- documents


def test_manifest_json() -> None:
    data = b'[{"Config":"c","Layers":["l"],"RepoTags":["t"]},{"config":"d","layers":null}]'
    assert manifests.parse_manifest_json(data) == (
        manifests.ManifestItem("c", ("l",), ("t",)),
        manifests.ManifestItem("d", (), ()),
    )
    assert manifests.parse_manifest_json(b"null") == ()


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"{}", "manifest.json"),
        (b"[1]", "manifest.json[0]"),
        (b'[{"Config":"c"},{}]', "manifest.json[1].Config"),
        (b'[{"Config":"c","Layers":["a",2]}]', "manifest.json[0].Layers[1]"),
        (b'[{"Config":"c","RepoTags":"a"}]', "manifest.json[0].RepoTags"),
        (b'[{"Config":"c","RepoTags":[null]}]', "manifest.json[0].RepoTags[0]"),
    ],
)
def test_an_error_in_manifest_json_names_the_place(data: bytes, where: str) -> None:
    with pytest.raises(DocumentError) as raised:
        manifests.parse_manifest_json(data)
    assert raised.value.where == where


def test_names_of_blobs() -> None:
    name = manifests.blob_name(A)
    assert name == f"blobs/sha256/{A.hex}"
    assert manifests.blob_digest(name) == A
    for other in (name[:-1], name + "0", name.upper(), "/" + name, f"{name}\n", A.hex, ""):
        assert manifests.blob_digest(other) is None


def test_manifests_and_indexes() -> None:
    pointer: dict[str, Any] = {"digest": str(A), "size": 3, "annotations": {"k": "v"}}
    manifest = manifests.parse_manifest({"config": pointer, "layers": [pointer]}, "")
    assert manifest.config == manifest.layers[0] == manifests.Descriptor(A, 3, "", pointer)
    typed = {**pointer, "mediaType": "m", "platform": {"os": "linux"}}
    (one,) = manifests.parse_index({"manifests": [typed]}, "")
    assert one == manifests.Descriptor(A, 3, "m", typed)
    assert manifests.parse_index(manifests.parse_document(b'{"manifests":null}', ""), "") == ()


def test_members_are_found_in_any_case_and_spelt_as_specified() -> None:
    """As Go does, which takes the long s and the Kelvin sign for letters, too."""
    pointer = {"DIGEST": str(A), "\u017fize": 3, "MEDIATYPE": None, "Platform": {"OS": "linux"}}
    found = manifests.parse_document(json.dumps({"Layers": [pointer], "x": None}).encode(), "")
    assert found == {"layers": [pointer], "x": None}
    one = manifests.parse_manifest({"config": pointer, **found}, "").layers[0]
    assert one.document == {"digest": str(A), "size": 3, "platform": {"os": "linux"}}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"layers":[],"Layers":[]}', "m.layers"),
        ('{"layers":null,"layer\u017f":[]}', "m.layers"),
        ('{"config":{},"config":{}}', "m"),
        ('{"x":{"a":1,"a":2}}', "m"),
        ('{"mediaType":5}', "m.mediaType"),
    ],
)
def test_a_member_that_readers_find_differently_is_refused(text: str, where: str) -> None:
    with pytest.raises(DocumentError) as raised:
        manifests.parse_document(text.encode(), "m")
    assert raised.value.where == where


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ('"root\u017f":1,"rootfs":{"diff_ids":[]}', "config.rootfs"),
        ('"rootfs":{"diff_ids":[],"Diff_IDs":[]}', "config.rootfs.diff_ids"),
        ('"rootfs":{"diff_ids":[]},"history":[{"created":"","Created":""}]', "config.history[0]"),
    ],
)
def test_a_config_that_readers_find_differently_is_refused(change: str, where: str) -> None:
    change = change.replace("root\u017f", "rootf\u017f")
    with pytest.raises(DocumentError, match="occurs twice") as raised:
        configs.parse_config(f"{{{change}}}".encode())
    assert raised.value.where.startswith(where)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"digest": 1}, "index.json.manifests[0].digest"),
        ({"size": -1}, "index.json.manifests[0].size"),
        ({"mediaType": 1}, "index.json.manifests[0].mediaType"),
        ({"annotations": []}, "index.json.manifests[0].annotations"),
        ({"annotations": {"k": 1}}, "index.json.manifests[0].annotations.k"),
        ({"platform": "linux"}, "index.json.manifests[0].platform"),
    ],
)
def test_an_error_in_a_descriptor_names_the_place(change: dict[str, Any], where: str) -> None:
    pointer = {"digest": str(A), "size": 3, **change}
    with pytest.raises(DocumentError) as raised:
        manifests.parse_index({"manifests": [pointer]}, "index.json")
    assert raised.value.where == where


# ---------------------------------------------------------------- the config


def test_a_config() -> None:
    text = """ {"os":"linux", "Architecture":"arm64","variant":"v8",
        "rootfs" : {"diff_ids":DIFFS, "type":"layers"},
        "created":"2024", "history":[ {"created_by":"x", "comment":"c"} ,{"empty_layer":true}]}"""
    found = config(text)
    assert (found.os, found.architecture, found.variant) == ("linux", "arm64", "v8")
    assert (found.diff_ids, found.created) == ((A, B), "2024")
    assert found.history == (
        HistoryEntry('{"created_by":"x", "comment":"c"}', False, "x", "", "c"),
        HistoryEntry('{"empty_layer":true}', True, "", "", ""),
    )
    assert found.image_id == Digest.of(found.raw)


def test_a_config_may_be_bare() -> None:
    found = config('{"rootfs":{}}')
    assert (found.diff_ids, found.history, found.created) == ((), None, None)
    assert config('{"rootfs":{},"history":null,"created":null}').history is None
    assert config('{"rootfs":{},"history":[]}').history == ()
    assert config('{"rootfs":{},"history":[ ]}').history == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", "config"),
        ("{}", "config.rootfs"),
        ('{"rootfs":null}', "config.rootfs"),
        ('{"rootfs":{"diff_ids":{}}}', "config.rootfs.diff_ids"),
        ('{"rootfs":{"diff_ids":["x"]}}', "config.rootfs.diff_ids[0]"),
        ('{"rootfs":{},"history":{}}', "config.history"),
        ('{"rootfs":{},"history":[[]]}', "config.history[0]"),
        ('{"rootfs":{},"history":[{"empty_layer":0}]}', "config.history[0].empty_layer"),
        ('{"rootfs":{},"history":[{},{"created_by":1}]}', "config.history[1].created_by"),
        ('{"rootfs":{},"created":1}', "config.created"),
        ('{"rootfs":{},"os":1}', "config.os"),
        ('{"rootfs":{},"rootfs":{}}', "config"),
        ('{"rootfs":{},"Rootfs":{}}', "config.Rootfs"),
        ('{"rootfs":{},"a":1,"A":1}', "config.A"),
    ],
)
def test_an_error_in_a_config_names_the_place(text: str, where: str) -> None:
    with pytest.raises(DocumentError) as raised:
        config(text)
    assert raised.value.where == where


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{}", '{"empty_layer":true}'),
        ('{"a":1}', '{"a":1,"empty_layer":true}'),
        ('{"a":1 }', '{"a":1 ,"empty_layer":true}'),
        ('{"empty_layer":false,"a":1}', '{"empty_layer":true,"a":1}'),
        ('{"a":1,"Empty_Layer" : null }', '{"a":1,"Empty_Layer" : true }'),
        ('{"empty_layer":true}', '{"empty_layer":true}'),
        ('{"a":"}"}', '{"a":"}","empty_layer":true}'),
    ],
)
def test_a_row_is_emptied_and_otherwise_kept(row: str, expected: str) -> None:
    (entry,) = config(f'{{"rootfs":{{}},"history":[{row}]}}').history or ()
    emptied = configs.emptied(entry)
    assert (emptied.text, emptied.empty_layer) == (expected, True)
    assert json.loads(emptied.text)


def test_a_new_row() -> None:
    row = configs.history_entry("2024", "merge")
    assert row.text == '{"created":"2024","created_by":"","comment":"merge"}'
    assert configs.history_entry(None, "é").text == '{"created_by":"","comment":"\\u00e9"}'


ODD = """{"zzz" : 123456789012345678901234567890, "float":1.50e+3 ,"x":"\\u00e9\\/", "":{},
  "rootfs":{"type":"layers" , "diff_ids":DIFFS,"more":[ ]} ,"history": [ {"created_by":"a"}, {} ],
  "created" :"2020","last":null}
"""


def test_editing_leaves_every_other_byte() -> None:
    old = config(ODD)
    rows = [configs.emptied(row) for row in old.history or ()]
    new = edit_config(old, [B], rows, "2024")
    expected = ODD.replace("DIFFS", json.dumps([str(B)])).replace('"2020"', '"2024"')
    expected = expected.replace(
        '[ {"created_by":"a"}, {} ]', '[{"created_by":"a","empty_layer":true},{"empty_layer":true}]'
    )
    assert new.raw.decode() == expected
    assert (new.diff_ids, new.created) == ((B,), "2024")
    assert edit_config(old, [A], None, None).raw.decode() == ODD.replace(
        "DIFFS", json.dumps([str(A)])
    )


def test_what_is_missing_is_put_in_front() -> None:
    new = edit_config(config(' {"rootfs":{}}'), [A], None, "now")
    assert new.raw.decode() == f' {{"created":"now","rootfs":{{"diff_ids":["{A}"]}}}}'
    new = edit_config(config('{"rootfs":{ "type":"layers"}}'), [], None, None)
    assert new.raw.decode() == '{"rootfs":{"diff_ids":[], "type":"layers"}}'


CACHE = '"moby.buildkit.cache.v0":"abc"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{CACHE , "rootfs":{"diff_ids":[]}}', '{"rootfs":{"diff_ids":[]}}'),
        ('{"rootfs":{"diff_ids":[]} , CACHE }', '{"rootfs":{"diff_ids":[]} }'),
        ('{"a":1, CACHE,"rootfs":{"diff_ids":[]}}', '{"a":1, "rootfs":{"diff_ids":[]}}'),
    ],
)
def test_the_cache_of_buildkit_goes_with_one_comma(text: str, expected: str) -> None:
    new = edit_config(config(text.replace("CACHE", CACHE)), [], None, None)
    assert new.raw.decode() == expected


def test_dumping() -> None:
    assert documents.dump({"b": [1, "é"], "a": None}) == '{"b":[1,"\\u00e9"],"a":null}'
    assert manifests.descriptor("m", A, 3, annotations={}) == {
        "mediaType": "m",
        "digest": str(A),
        "size": 3,
        "annotations": {},
    }


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("me/app:1", "docker.io/me/app:1"),
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        ("docker.io/library/debian:12", "docker.io/library/debian:12"),
        ("index.docker.io/me/app", "docker.io/me/app:latest"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("host.example/a/b_c.d-e__f:T_1.-", "host.example/a/b_c.d-e__f:T_1.-"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("HOST/app", "HOST/app:latest"),
    ],
)
def test_names_are_completed_as_docker_does(name: str, full: str) -> None:
    tag = references.normalise_tag(name)
    assert tag is not None
    assert references.full_name(tag) == full
    assert references.same_name(name, full)
    assert references.full_name(full) == full
    assert references.full_name(references.normalise_tag(references.short_name(full)) or "") == full


@pytest.mark.parametrize(
    "name",
    ["", "Debian", "a:", ":1", "a b", "a/", "/a", "a//b", "a:b:c", "a:" + "t" * 129, "a-", "_a",
     "a@sha256:" + "0" * 64, "0" * 64, "ä", "a\n", "a:ä"],
)  # fmt: skip
def test_what_is_no_image_name(name: str) -> None:
    assert references.normalise_tag(name) is None
    assert not references.same_name(name, name)


def test_short_names() -> None:
    assert references.short_name("docker.io/library/debian:12") == "debian:12"
    assert references.short_name("docker.io/me/app:1") == "me/app:1"
    assert references.short_name("localhost/app:1") == "localhost/app:1"


def test_a_config_of_many_bytes() -> None:
    with pytest.raises(DocumentError, match="a document of"):
        parse_config(b" " * (documents.DOCUMENT_MAX + 1))


def test_errors_are_ours() -> None:
    assert issubclass(DocumentError, SquasherError)
