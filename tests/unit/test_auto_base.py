"""squasher.image.auto_base and squasher.image.steps: `-f auto`, from values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import BaseNotFoundError
from squasher.image import auto_base
from squasher.image.auto_base import Claim, Finding, claims, findings, known, resolve
from squasher.image.base import Base, Split
from squasher.image.configs import parse_config
from squasher.image.model import Blob, Image, Layer
from squasher.image.steps import Source, base_of_steps

DIFFS = [Digest(n * 64) for n in "abcd"]
BLOBS = [Digest(n * 64) for n in "1234"]
PIN = Digest("9" * 64)
OTHER = Digest("8" * 64)
NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
META = "https://mobyproject.org/buildkit@v1#metadata"


def made(
    count: int = 4,
    *,
    labels: Any = None,
    annotations: dict[str, str] | None = None,
    statements: tuple[Any, ...] = (),
    tags: tuple[str, ...] = ("app:1",),
    ids: tuple[Digest, ...] = (),
    diffs: list[Digest] = DIFFS,
) -> Image:
    rows = [{"created_by": f"step {n}"} for n in range(count)]
    document = {
        "rootfs": {"diff_ids": [str(d) for d in diffs[:count]]},
        "history": rows,
        "config": {"Labels": labels},
    }
    layers = tuple(
        Layer(diff, Blob(Content(()), "", blob))
        for diff, blob in zip(diffs[:count], BLOBS, strict=False)
    )
    manifest = {"annotations": annotations} if annotations else {}
    config = parse_config(json.dumps(document).encode())
    return Image(
        config, layers, tags, manifest=manifest, manifest_digests=ids, attested=lambda: statements
    )


def step(name: str, op: Any, *inputs: str) -> dict[str, Any]:
    return {"id": name, "op": {"Op": op}, "inputs": list(inputs)}


def source(name: str, image: str = f"docker-image://docker.io/library/debian:12@{PIN}") -> Any:
    return step(name, {"source": {"identifier": image}})


RUN = {"exec": {"mounts": [{"dest": "/"}]}}
COPY = {"file": {"actions": [{"input": 0, "secondaryInput": 1, "output": 0}]}}
END = step("step9", {}, "step8:0")


def statement(
    steps: Any = None, layers: Any = None, materials: Any = None, v1: bool = False
) -> Any:
    if v1:
        return {
            "predicate": {
                "buildDefinition": {
                    "internalParameters": {"buildConfig": {"llbDefinition": steps}},
                    "resolvedDependencies": materials,
                },
                "runDetails": {"metadata": {"buildkit_metadata": {"layers": layers}}},
            }
        }
    return {
        "predicate": {
            "buildConfig": {"llbDefinition": steps},
            "materials": materials,
            "metadata": {META: {"layers": layers}},
        }
    }


def blobs(count: int) -> list[dict[str, str]]:
    return [{"digest": str(digest)} for digest in BLOBS[:count]]


def material(uri: str, digest: Any = PIN) -> Any:
    return {"uri": uri, "digest": {"sha256": digest.hex if digest else digest}}


# ---------------------------------------------------------------- steps

DEBIAN = f"docker-image://docker.io/library/debian:12@{PIN}"
OTHERS = "docker-image://docker.io/library/golang:1"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([source("step8"), END], DEBIAN),
        ([source("step0"), step("step8", RUN, "step0:0"), END], DEBIAN),
        # COPY --from: the second input of the action is not the root
        (
            [
                source("step0"),
                source("step1", OTHERS),
                step("step8", COPY, "step0:0", "step1:0"),
                END,
            ],
            DEBIAN,
        ),
        (
            [
                source("step0", OTHERS),
                source("step1"),
                step("step8", COPY, "step1:0", "step0:0"),
                END,
            ],
            DEBIAN,
        ),
        # COPY --link: copied onto nothing, then put upon the base
        (
            [
                source("step0"),
                step("step1", {"file": {"actions": [{"input": -1, "output": 0}]}}),
                step(
                    "step8",
                    {"merge": {"inputs": [{"input": 0}, {"input": 1}]}},
                    "step0:0",
                    "step1:0",
                ),
                END,
            ],
            DEBIAN,
        ),
        # RUN --mount: other mounts are no root
        (
            [
                source("step0"),
                source("step1", OTHERS),
                step(
                    "step8",
                    {"exec": {"mounts": [{"input": 1, "output": -1, "dest": "/x"}, {"dest": "/"}]}},
                    "step0:0",
                    "step1:0",
                ),
                END,
            ],
            DEBIAN,
        ),
        # several actions of one step: the last one changes what the first one made
        (
            [
                source("step0"),
                step(
                    "step8",
                    {"file": {"actions": [{"input": 0, "output": -1}, {"input": 1, "output": 0}]}},
                    "step0:0",
                ),
                END,
            ],
            DEBIAN,
        ),
        # FROM scratch
        ([step("step8", {"file": {"actions": [{"input": -1, "output": 0}]}}), END], ""),
        ([step("step8", {"exec": {"mounts": [{"input": -1, "dest": "/"}]}}), END], ""),
        # another stage of the same build, an image in a layout
        ([source("step8", f"oci-layout://base@{PIN}"), END], f"oci-layout://base@{PIN}"),
    ],
)
def test_the_last_step_is_followed_to_its_base(steps: Any, expected: str) -> None:
    found = base_of_steps(steps, None)
    assert found == Source(expected)


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        {},
        [1, None, {"id": 3}],
        [source("step8")],  # no end
        [END],  # what it leads to is missing
        [source("step8", "git://example.com/x"), END],
        [step("step8", {"diff": {}}, "step0:0"), END],
        [step("step8", RUN, "step8:0"), END],  # a circle
        [step("step8", RUN, "step0:7"), source("step0"), step("step9", {}, "step8:7")],
        [step("step8", RUN, "step0:x"), source("step0"), step("step9", {}, "step8:x")],
        [step("step8", RUN), END],
        [step("step8", {"exec": {"mounts": 5}}, "step0:0"), END],
        [step("step8", {"exec": {"mounts": [None, 5]}}, "step0:0"), END],
        [step("step8", {"exec": {"mounts": [{"input": "x"}]}}, "step0:0"), END],
        [step("step8", {"file": {"actions": [{"input": 1}]}}, "step0:0"), END],  # of itself
        [step("step8", {"file": {"actions": [{"input": 5}]}}, "step0:0"), END],
        [step("step8", {"merge": {"inputs": ["x"]}}, "step0:0"), END],
        [{"id": "step9", "op": {"Op": {}}, "inputs": [None]}],
        [{"id": "step9", "op": {"Op": {}}, "inputs": "step8:0"}],
    ],
)
def test_steps_that_lead_nowhere(steps: Any) -> None:
    assert base_of_steps(steps, {}) is None


def test_the_layers_of_the_base() -> None:
    layers = {"step0:0": [blobs(2), "odd", [1]], "step8:0": [blobs(3)]}
    found = base_of_steps([source("step0"), step("step8", RUN, "step0:0"), END], layers)
    assert found == Source(DEBIAN, ((str(BLOBS[0]), str(BLOBS[1])), ("None",)))


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("v1", [False, True])
def test_provenance_with_steps_names_the_base_alone(v1: bool) -> None:
    told = statement(
        [source("step8"), END],
        {"step8:0": [blobs(2)]},
        [material("pkg:docker/golang@1", OTHER)],
        v1=v1,
    )
    chain = (str(BLOBS[0]), str(BLOBS[1]))
    expected = Claim("provenance", "docker.io/library/debian:12", PIN, (chain,))
    assert claims(made(), [told]) == (expected,)


@pytest.mark.parametrize("v1", [False, True])
def test_provenance_without_steps_names_every_image(v1: bool) -> None:
    used = [
        material("pkg:docker/debian@12?platform=linux%2Famd64"),
        material("pkg:docker/localhost%3A5000/a/b@1", OTHER),
        material("pkg:docker/docker/dockerfile@1"),
        material(f"pkg:docker/alpine@{OTHER}", OTHER),
        material("pkg:docker/UPPER@1", OTHER),
        material("https://example.com/x.git"),
        material("pkg:docker/none", None),
        5,
    ]
    assert claims(made(), [statement(materials=used, v1=v1)]) == (
        Claim("provenance", "debian:12", PIN),
        Claim("provenance", "localhost:5000/a/b:1", OTHER),
        Claim("provenance", "alpine", OTHER),
        Claim("provenance", "", OTHER),
    )


def test_from_scratch_names_nothing() -> None:
    scratch = [step("step8", {"file": {"actions": [{"input": -1, "output": 0}]}}), END]
    told = statement(scratch, {}, [material("pkg:docker/golang@1")])
    assert claims(made(), [told]) == ()


@pytest.mark.parametrize("odd", [{}, {"predicate": 5}, {"predicate": {"materials": {}}}])
def test_a_statement_that_says_nothing(odd: Any) -> None:
    assert claims(made(), [odd]) == ()


def test_annotations_come_before_labels() -> None:
    image = made(labels={NAME: "a:1"}, annotations={NAME: "debian:12", DIGEST: str(PIN)})
    assert claims(image, ()) == (
        Claim("annotation", "debian:12", PIN),
        Claim("label", "a:1"),
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ()),
        ({NAME: ""}, ()),
        ({NAME: "no name"}, ()),
        ({NAME: "../../etc/passwd", DIGEST: "sha256:short"}, ()),
        ({NAME: 5, DIGEST: None}, ()),
        ({NAME: f"debian@{PIN}"}, (Claim("label", "debian", PIN),)),
        ({DIGEST: f"{PIN}"}, (Claim("label", "", PIN),)),
        ({DIGEST: "sha512:" + "0" * 128, NAME: "a"}, (Claim("label", "a"),)),
        (None, ()),
        ("text", ()),
    ],
)
def test_labels(words: Any, expected: Any) -> None:
    assert claims(made(labels=words), ()) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"runImage": {"topLayer": str(DIFFS[1]), "reference": f"run@{PIN}", "image": "run:1"}},
            Claim("buildpacks", "run:1", PIN, top=str(DIFFS[1])),
        ),
        (
            {"runImage": {"topLayer": str(DIFFS[1])}, "stack": {"runImage": {"image": "run:2"}}},
            Claim("buildpacks", "run:2", top=str(DIFFS[1])),
        ),
        ({"runImage": {"reference": f"run@{PIN}"}}, Claim("buildpacks", "", PIN)),
        ({"runImage": {"topLayer": "x"}}, None),
        ({"runImage": {"topLayer": 5, "reference": 5, "image": 5}}, None),
        ({}, None),
        ([], None),
        ("{", None),
    ],
)
def test_buildpacks(document: Any, expected: Claim | None) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    found = claims(made(labels={auto_base.BUILDPACKS: text}), ())
    assert found == ((expected,) if expected else ())


# ---------------------------------------------------------------- proofs


def base(count: int, name: str = "debian:12", ids: tuple[Digest, ...] = ()) -> Image:
    return made(count, tags=(name,), ids=ids)


CHAIN2 = ((str(BLOBS[0]), str(BLOBS[1])),)
FAR = made(2, tags=("debian:12",), ids=(PIN,), diffs=DIFFS[2:])


@pytest.mark.parametrize(
    ("claim", "others", "split"),
    [
        (Claim("provenance", layers=CHAIN2), [], Split(2)),
        (Claim("provenance", layers=((str(BLOBS[1]),), *CHAIN2)), [], Split(2)),
        (Claim("provenance", layers=((str(BLOBS[1]),),)), [], None),
        (Claim("provenance", layers=((),)), [], None),
        # converted blobs: the base itself proves it
        (Claim("provenance", "", PIN, ((str(OTHER),),)), [base(2, ids=(PIN,))], Split(2, 2)),
        (Claim("buildpacks", top=str(DIFFS[2])), [], Split(3)),
        (Claim("buildpacks", top=str(OTHER)), [], None),
        (Claim("label", "debian:12"), [base(1)], Split(1, 1)),
        (Claim("label", "docker.io/library/debian:12"), [base(1)], Split(1, 1)),
        (Claim("label", "debian:11"), [base(1)], None),
        (Claim("label", "", PIN), [base(3, "x:1", (PIN,))], Split(3, 3)),
        (Claim("label", "debian:12", OTHER), [base(3, ids=(PIN,))], Split(3, 3)),
        # the digest outranks the name
        (Claim("label", "debian:12", PIN), [base(1), base(3, "x:1", (PIN,))], Split(3, 3)),
        (Claim("label", "debian:12", PIN), [FAR], None),
        (Claim("label", "debian:12"), [base(0)], None),
        (Claim("label", "app:1"), [made()], None),  # itself
        (Claim("label", "debian:12"), [], None),
    ],
)
def test_what_proves_a_claim(claim: Claim, others: list[Image], split: Split | None) -> None:
    found = auto_base.prove(made(), claim, others, lambda name: None)
    assert found.split == split
    assert found.why


def test_a_top_layer_that_comes_twice_proves_nothing() -> None:
    image = made(diffs=[DIFFS[0], DIFFS[1], DIFFS[0], DIFFS[2]])
    claim = Claim("buildpacks", top=str(DIFFS[0]))
    found = auto_base.prove(image, claim, [], lambda name: None)
    assert found == Finding(claim, None, "the image has its highest layer 2 times")
    assert claim.words == "a base without a name"


def test_a_history_that_is_not_the_images_own_tells_no_rows() -> None:
    other = base(2)
    row = replace((other.config.history or ())[0], text="{}")
    other = replace(other, config=replace(other.config, history=(row,)))
    found = auto_base.prove(made(), Claim("label", "debian:12"), [other], lambda name: None)
    assert found.split == Split(2)


def test_the_engine_is_asked_by_digest_and_by_name() -> None:
    asked: list[str] = []

    def ask(name: str) -> Base | None:
        asked.append(name)
        return Base(tuple(DIFFS[:2])) if name == "debian:12" else None

    found = auto_base.prove(made(), Claim("label", "debian:12", PIN), [], ask)
    assert found.split == Split(2)
    assert asked == [f"docker.io/library/debian@{PIN}", str(PIN), "debian:12"]
    moved = auto_base.prove(
        made(), Claim("label", "debian:12"), [], lambda name: Base(tuple(DIFFS[1:]))
    )
    assert moved == Finding(
        Claim("label", "debian:12"), None, "docker-daemon:debian:12 has other layers"
    )


# ---------------------------------------------------------------- the decision


def test_what_counts_more_decides() -> None:
    told = statement([source("step8"), END], {"step8:0": [blobs(2)]})
    image = made(labels={NAME: "debian:12"}, statements=(told,))
    split, why = resolve(image, [base(1)])
    assert split == Split(2)
    assert why == (
        f"docker.io/library/debian:12@{PIN} (BuildKit's provenance): its 2 layers are the lowest"
        " of the image"
    )
    image = made(labels={NAME: "debian:12"}, statements=(statement(),))
    assert resolve(image, [base(1)])[0] == Split(1, 1)


def test_several_that_are_proven_contradict_each_other() -> None:
    """Without the steps nobody knows which of the images is the base of the last stage."""
    used = [material("pkg:docker/debian@12"), material("pkg:docker/python@3", OTHER)]
    image = made(statements=(statement(materials=used),))
    others = [base(1, ids=(PIN,)), base(2, "python:3", (OTHER,))]
    with pytest.raises(BaseNotFoundError, match="names several images") as raised:
        resolve(image, others)
    choices = f"debian:12@{PIN} (--keep-layers 1)", f"python:3@{OTHER} (--keep-layers 2)"
    assert raised.value.there == choices
    assert raised.value.where == "-f auto"
    assert len(known(findings(image, image.attested(), others))) == 2
    assert resolve(image, others[:1])[0] == Split(1, 1)
    again = made(statements=(statement(materials=used[:1] * 2),))
    assert resolve(again, others[:1])[0] == Split(1, 1)


@pytest.mark.parametrize(
    ("image", "what", "hint"),
    [
        (made(), "app:1 names no base", "give the base with -f BASE or --keep-layers K"),
        (
            made(labels={NAME: "debian:12"}),
            "app:1 names debian:12, but nothing proves that it is the base",
            "give it with -f docker-daemon:debian:12, or run `skopeo copy docker://docker.io/library/debian:12",
        ),
        (
            made(annotations={NAME: "a.example/b:1", DIGEST: str(PIN)}),
            f"app:1 names a.example/b:1@{PIN}, but",
            f"`skopeo copy docker://a.example/b@{PIN} oci-archive:base.tar`",
        ),
        (made(annotations={DIGEST: str(PIN)}), f"app:1 names {PIN}, but", "give the base"),
    ],
)
def test_nothing_is_proven(image: Image, what: str, hint: str) -> None:
    with pytest.raises(BaseNotFoundError) as raised:
        resolve(image)
    assert what in raised.value.what
    assert hint in raised.value.hint
    assert raised.value.image is image
    assert len(raised.value.there) == len(auto_base.PLACES)
    assert "\n" not in str(raised.value)


def test_what_was_looked_at_is_told() -> None:
    image = made(labels={NAME: "debian:12"}, annotations={NAME: "x:1"})
    lines = list(auto_base.looked_at(findings(image, (), [FAR])))
    assert lines == [
        "BuildKit's provenance: none",
        "the annotations org.opencontainers.image.base.*: x:1: there is no such image to compare"
        " with",
        "the labels org.opencontainers.image.base.*: debian:12: debian:12 of the archive has other"
        " layers",
        "the label io.buildpacks.lifecycle.metadata: none",
    ]


def test_a_provenance_of_very_many_images() -> None:
    """Each is compared with every image there is: a stranger may not make millions of them."""
    used = [material(f"pkg:docker/a{n}@1") for n in range(5000)]
    image = made(labels={NAME: "debian:12"}, statements=(statement(materials=used),))
    asked: list[str] = []
    with pytest.raises(BaseNotFoundError) as raised:
        resolve(image, (), lambda name: asked.append(name))
    assert len(asked) == 100 * 3 + 1
    assert asked[-1] == "debian:12"
    assert f"names a0:1@{PIN} and a1:1@{PIN} and a2:1@{PIN} and 98 more, but" in str(raised.value)
