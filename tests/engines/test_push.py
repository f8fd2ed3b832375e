"""Build, squash, push without a daemon: the steps of examples/push against a real registry.

The registry is docker-registry on loopback; what was uploaded is counted from its log.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import squasher
from tests.docs.blocks import ROOT, blocks, pages
from tests.docs.blocks import name as page_name
from tests.engines.engines import Place, places
from tests.forms.shapes import (
    attested,
    blobs,
    describe,
    dump,
    manifest_of,
    pack,
    plain_files,
)

STEPS = ROOT / "examples" / "push"
DEMO = ROOT / "testdata" / "demo.tar"
#: The programs that steps find; they run where the registry does.
IN_TOTO = "application/vnd.in-toto+json"
SPDX = "https://spdx.dev/Document"
PROGRAMS = ("buildah", "cosign", "crane", "docker", "skopeo")
DOCKERFILE = """ARG BASE={}/debian:12
FROM $BASE
COPY release /app/release
COPY release /app/other
COPY data /app/other
"""
SBOM = dump(
    {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": SPDX,
        "predicate": {"spdxVersion": "SPDX-2.3", "name": "app"},
    }
)
#: How a build ends that also scans for an SBOM.
_SCANNED = "--attest type=sbom --output type=oci,dest=app.tar .\n"
_UPLOAD = re.compile(r'"PUT /v2/(\S+?)/blobs/uploads/\S*digest=sha256%3A([0-9a-f]{64})')
_MOUNT = re.compile(r'"POST /v2/(\S+?)/blobs/uploads/\?from=(\S+?)&mount=[^"]*" 201 ')


@dataclass(frozen=True)
class Registry:
    """A registry that runs in `place`, and a folder for the steps, which both sides see."""

    place: Place
    address: str
    folder: Path
    env: dict[str, str]

    def run(self, script: str, **variables: str) -> str:
        """Run a script as CI does, in the folder; return what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.env | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def log(self) -> Path:
        """What the registry said since `forget`."""
        return self.folder / "registry.log"

    def forget(self) -> None:
        """Begin to count anew; it appends to its log."""
        os.truncate(self.log, 0)

    def uploaded(self, repository: str) -> set[str]:
        """Return the digests of the blobs that were uploaded there, none of which was mounted."""
        found = _UPLOAD.findall(self.log.read_text("utf-8"))
        return {f"sha256:{digest}" for name, digest in found if name == repository}

    def mounted_from(self, repository: str) -> set[str]:
        """Return the repositories that blobs were mounted from."""
        found = _MOUNT.findall(self.log.read_text("utf-8"))
        return {source for name, source in found if name == repository}

    def manifest(self, name: str) -> dict[str, Any]:
        """Return the manifest that the registry has under a name."""
        document: dict[str, Any] = json.loads(self.run(f"skopeo inspect --raw docker://{name}"))
        return document


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Give a registry that holds the demo image as the repository `debian`, and its engines."""
    place = places()[-1]
    if reason := place.missing():
        if os.environ.get("SQUASHER_ENGINES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with place.folder() as name, socket.create_server(("127.0.0.1", 0)) as held:
        folder = Path(name)
        address = f"127.0.0.1:{held.getsockname()[1]}"
        held.close()
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": f"{folder}/registry"}},
            "http": {"addr": address},
        }
        (folder / "registry.json").write_text(json.dumps(config))  # JSON is YAML
        insecure = f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
        settings = folder / ".config" / "containers"
        settings.mkdir(parents=True)
        (settings / "registries.conf").write_text(insecure)
        for step in (*STEPS.iterdir(), DEMO):
            shutil.copy(step, folder)
        (folder / "Dockerfile").write_text(DOCKERFILE.format(address))
        (folder / "data").write_text("the same in each release\n" * 4000)
        env = {
            "PATH": f"{_programs(place, folder)}:/usr/bin:/bin",
            "HOME": name,
            "TMPDIR": name,
            "DOCKER_HOST": f"unix://{place.state}/docker-containerd.sock",
            "PYTHONPATH": str(ROOT),
            "COSIGN_PASSWORD": "",
        }
        running = Registry(place, address, folder, env)
        with running.log.open("ab") as log:
            server = subprocess.Popen(
                place.command("docker-registry", "serve", f"{folder}/registry.json"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(address)
            # What was fetched before decides what is mounted: the cache is this run's own.
            running.run(f"skopeo copy -q docker-archive:demo.tar docker://{address}/debian:12")
            yield running
        finally:
            server.kill()
            server.wait()


def _programs(place: Place, folder: Path) -> Path:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "squash").symlink_to(Path(sysconfig.get_path("scripts")) / "squash")
    (programs / "python3").symlink_to(sys.executable)
    for name in PROGRAMS:
        words = place.command("sh", "-c", 'cd "$0" && exec "$@"')
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$PWD" /usr/bin/{name} "$@"\n')
        path.chmod(0o755)
    return programs


def _wait(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(100):
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the registry does not answer")


def load(name: str) -> Any:
    """Read a YAML file; `on:` stays a string."""
    return yaml.load((STEPS / name).read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506


def github() -> str:
    steps = {step.get("name"): step for step in load("github.yml")["jobs"]["image"]["steps"]}
    return f"{steps['build']['run']}\n{steps['squash and push']['run']}"


def gitlab() -> str:
    job = load("gitlab.yml")["squashed-image"]
    given = (f"export {name}={job['variables'][name]}" for name in _BUILDAH)
    return "\n".join([*given, *job["script"]])


def jenkins() -> str:
    text = (STEPS / "Jenkinsfile").read_text("utf-8")
    return "\n".join(re.findall(r"^ +sh '([^'].*)'$", text, re.MULTILINE))


def tekton() -> str:
    build, squash = load("tekton-task.yaml")["spec"]["steps"]
    given = {item["name"]: item["value"] for item in build["env"]}
    words = (f"export {name}={given[name]}" for name in _BUILDAH)
    return "\n".join([*words, build["script"], "RESULT=/dev/stdout", squash["script"]])


def shell() -> str:
    return """
    docker buildx build --build-arg "BASE=$BASE" --output type=oci,dest=app.tar .
    ./squash-and-push.sh app.tar "$BELOW" "$NAME"
    """


def _with_registry(page: Path) -> bool:
    return any(block.needs == "registry" for block in blocks(page))


_BUILDAH = ("BUILDAH_ISOLATION", "STORAGE_DRIVER")


@pytest.mark.parametrize("step", [github, gitlab, jenkins, tekton, shell])
def test_only_the_new_layer_is_uploaded(step: Any, registry: Registry) -> None:
    own = f"{step.__name__}-app"
    base, name = f"{registry.address}/debian:12", f"{registry.address}/{own}:1.0"
    (registry.folder / "release").write_text(f"{own}\n")
    registry.forget()
    variables = {"BASE": base, "BELOW": base, "NAME": name, "GITHUB_STEP_SUMMARY": "summary"}
    printed = registry.run(step(), **variables)
    before, after = registry.manifest(base)["layers"], registry.manifest(name)
    digests = [layer["digest"] for layer in before]
    assert [layer["digest"] for layer in after["layers"][:-1]] == digests
    new = {after["layers"][-1]["digest"], after["config"]["digest"]}
    assert registry.uploaded(own) == new, "base blobs were uploaded"
    assert registry.mounted_from(own) == {"debian"}
    pushed = printed.split()[-1]
    assert pushed.startswith(f"{registry.address}/{own}@sha256:")
    assert registry.manifest(pushed) == after


def test_an_update_uploads_what_changed_and_is_signed(registry: Registry) -> None:
    base = f"{registry.address}/debian:12"
    names = [f"{registry.address}/updated:{release}" for release in ("1.0", "1.1")]
    registry.run("cosign generate-key-pair")
    for below, name in zip((base, names[0]), names, strict=True):
        (registry.folder / "release").write_text(f"{name}\n")
        registry.forget()
        variables = {"BASE": base, "BELOW": below, "NAME": name, "COSIGN_KEY": "cosign.key"}
        pushed = registry.run(shell(), **variables).split()[-1]
    before, after = (registry.manifest(name) for name in names)
    assert after["layers"][:-1] == before["layers"]
    new = {after["layers"][-1]["digest"], after["config"]["digest"]}
    assert not registry.uploaded("updated") & {layer["digest"] for layer in before["layers"]}
    assert new <= registry.uploaded("updated")  # and the signature
    verify = "cosign verify --key cosign.pub --insecure-ignore-tlog=true"
    registry.run(f"{verify} {pushed}")
    registry.run(f"! {verify} {base}")


def test_a_provenance_of_another_image_is_refused(registry: Registry) -> None:
    registry.run("""
    rm -f cosign.* && cosign generate-key-pair
    squash --keep-layers 1 demo.tar -o oci-archive:own.tar --digestfile own --provenance own.json
    cosign attest-blob --yes --key cosign.key --use-signing-config=false --tlog-upload=false \\
      --statement own.json --bundle own.sigstore.json
    """)
    verify = (
        "cosign verify-blob-attestation --key cosign.pub --insecure-ignore-tlog=true"
        " --type slsaprovenance1 --bundle own.sigstore.json --digestAlg sha256 --digest"
    )
    registry.run(f"{verify} {(registry.folder / 'own').read_text().removeprefix('sha256:')}")
    registry.run(f"! {verify} {'0' * 64}")


def add_sbom(path: Path) -> None:
    """Put an SBOM beside the image of a layout, as buildx does.

    The daemon of these tests has no network, and without one BuildKit runs no scanner.
    """
    with squasher.open_archive(path) as archive:
        image = {"digest": str(archive.images[0].manifest_digests[0])}
    files = dict(plain_files(path.read_bytes()))
    kind = {"in-toto.io/predicate-type": SPDX}
    manifest = manifest_of(b"{}", [describe(IN_TOTO, SBOM, annotations=kind)])
    index = json.loads(files["index.json"] or b"")
    index["manifests"].append(attested(image, manifest))
    path.write_bytes(pack({**files, **blobs(SBOM, b"{}", manifest), "index.json": dump(index)}))


def test_an_sbom_is_taken_along(registry: Registry) -> None:
    """What is said of the unsquashed image is saved, byte for byte, and cosign attaches it."""
    (registry.folder / "release").write_text("attested\n")
    name = f"{registry.address}/attested"
    registry.run("""
    rm -rf cosign.* beside && cosign generate-key-pair
    docker buildx build --provenance=mode=max --output type=oci,dest=attested.tar .
    """)
    add_sbom(registry.folder / "attested.tar")
    registry.run(f"""
    squash --keep-layers 1 attested.tar -o oci-archive:plain.tar --digestfile digest \\
      --export-attestations beside --report report.json
    skopeo copy -q oci-archive:plain.tar docker://{name}:1
    jq .predicate beside/spdx.dev-Document.*.json >sbom.json
    cosign attest --yes --key cosign.key --use-signing-config=false --tlog-upload=false \\
      --type spdxjson --predicate sbom.json {name}@$(cat digest)
    """)
    told = json.loads((registry.folder / "report.json").read_text())["attestations"]
    kinds = Counter(each["kind"].rpartition("/v")[0] or each["kind"] for each in told)
    assert kinds == {"https://slsa.dev/provenance": 1, SPDX: 1, "manifest": 2}
    files = plain_files((registry.folder / "attested.tar").read_bytes())
    for each in told:
        saved = (registry.folder / "beside" / each["file"]).read_bytes()
        assert saved == files[f"blobs/sha256/{each['digest'].removeprefix('sha256:')}"]
    verify = "cosign verify-attestation --key cosign.pub --insecure-ignore-tlog=true"
    said = registry.run(f"{verify} --type spdxjson {name}@$(cat digest) 2>log")
    payload = json.loads(base64.b64decode(json.loads(said)["payload"]))
    assert payload["predicate"] == json.loads(SBOM)["predicate"]
    digest = (registry.folder / "digest").read_text().removeprefix("sha256:")
    assert payload["subject"][0]["digest"]["sha256"] == digest
    registry.run(f"! {verify} --type spdxjson {registry.address}/debian:12")


def test_what_cosign_has_saved(registry: Registry) -> None:
    """Signature and attestation of a layout of `cosign save`, which squashing leaves out."""
    name = f"{registry.address}/saved"
    (registry.folder / "predicate.json").write_text('{"name": "app"}')
    registry.run(f"""
    rm -rf cosign.* beside layout && cosign generate-key-pair
    skopeo copy -q docker-archive:demo.tar docker://{name}:1
    image={name}@$(crane digest {name}:1)
    words="--yes --key cosign.key --use-signing-config=false --tlog-upload=false"
    cosign sign $words --new-bundle-format=false "$image"
    cosign attest $words --new-bundle-format=false --type spdxjson --predicate predicate.json \\
      "$image"
    cosign save --dir layout "$image"
    squash --keep-layers 1 layout -o plain.tar --export-attestations beside
    """)
    found = sorted(path.name for path in (registry.folder / "beside").iterdir())
    assert len(found) == 4, found
    kinds = Counter(each.partition(".")[0] for each in found)
    assert kinds["manifest"] == 2
    assert any("simplesigning" in each for each in found)


@pytest.mark.parametrize("page", [p for p in pages() if _with_registry(p)], ids=page_name)
def test_the_blocks_of_a_page_push_only_what_is_new(page: Path, registry: Registry) -> None:
    (registry.folder / "release").write_text(f"{page}\n")
    base = registry.manifest(f"{registry.address}/debian:12")["layers"]
    registry.run("rm -rf cosign.* beside")
    registry.forget()
    for block in blocks(page):
        if block.needs == "registry":
            text = block.text.replace("registry.example.com", registry.address)
            build, scanned, text = text.rpartition(_SCANNED)
            if scanned:
                registry.run(build + scanned.replace("--attest type=sbom ", ""))
                add_sbom(registry.folder / "app.tar")
            registry.run(text)
    log = registry.log.read_text("utf-8")
    uploaded = {f"sha256:{digest}" for _, digest in _UPLOAD.findall(log)}
    assert uploaded
    assert not uploaded & {layer["digest"] for layer in base}
