"""Faults to plant in what makes a result: each replaces one text of a module by another.

`proof` (what `--verify` runs) has to catch them. What it cannot catch, because every engine shows
the same root filesystem, names the test of the suite that does (`elsewhere`) and says why.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """Text `old`, which occurs once in `squasher/<module>.py`, becomes `new`.

    elsewhere   the test that catches it where the root filesystem is the same, and why it is;
                in brackets the case of the corpus, if it takes one
    """

    name: str
    module: str
    old: str
    new: str
    elsewhere: str = ""
    why: str = ""


def _merge(name: str, old: str, new: str, elsewhere: str = "", why: str = "") -> Mutation:
    return Mutation(name, "merge", old, new, elsewhere, why)


def _writer(name: str, old: str, new: str, elsewhere: str = "", why: str = "") -> Mutation:
    return Mutation(name, "writer", old, new, elsewhere, why)


def _squash(name: str, old: str, new: str, elsewhere: str = "", why: str = "") -> Mutation:
    return Mutation(name, "_squash", old, new, elsewhere, why)


def _case(name: str) -> str:
    """Return the test of the corpus that a case is."""
    return f"tests/conformance/test_conformance.py::test_every_base_shows_the_same_tree[{name}]"


MINIMAL = "it only says again what the base has"

MERGE = (
    # ---------------------------------------------------------------- M1: directories
    _merge(
        "written although nothing below it is",
        "            return self.live or not self.droppable\n",
        "            return True\n",
        _case("d1-file"),
        MINIMAL,
    ),
    _merge(
        "dropped although something below it is written",
        "            return self.live or not self.droppable\n",
        "            return not self.droppable\n",
    ),
    _merge(
        "a directory of its own is only lazy",
        "            folder.reason = _OWN\n",
        "            folder.reason = _LAZY\n",
    ),
    _merge(
        "a lazy directory is written when something below it is",
        "            return not self.live\n",
        "            return self.live\n",
    ),
    _merge(
        "an implied directory is not written",
        "return self.reason == _NEW or (self.reason == _CARRIES and self.carried)",
        "return self.reason == _CARRIES and self.carried",
    ),
    _merge(
        "a directory above repeated base names is not written",
        "return self.reason == _NEW or (self.reason == _CARRIES and self.carried)",
        "return self.reason == _NEW",
    ),
    _merge(
        "a directory above base names is written without need",
        "return self.reason == _NEW or (self.reason == _CARRIES and self.carried)",
        "return self.reason in (_NEW, _CARRIES)",
        _case("h02-deleted"),
        MINIMAL,
    ),
    _merge(
        "the layer of a directory is compared the wrong way",
        "        if node.layer >= self.first and node.entry is not None:\n",
        "        if node.layer > self.first and node.entry is not None:\n",
    ),
    _merge(
        "the root is never written",
        "        elif parent is None:\n            return  # the root",
        "        if parent is None:\n            folder.reason = _NONE\n            return  # the root",
    ),
    _merge(
        "directories that differ in attributes count as provided",
        "                    and node.entry.same_attributes(base.entry)\n",
        "",
    ),
    _merge(
        "a directory is provided below an implied one",
        "                    (parent is None or parent.solid)\n                    and node",
        "                    node",
        _case("d0-directory"),
        "only overlay engines that had reset a directory above show other attributes: rule D0",
    ),
    _merge(
        "a directory is provided where engines read the base differently",
        "                    and self._trusted(folder.path)\n",
        "",
        _case("d2-mentioned"),
        "an image that gives a warning: rule D3",
    ),
    # ---------------------------------------------------------------- M2, M3: whiteouts
    _merge(
        "no whiteouts",
        "        folder.gone = sorted(below.keys() - node.children.keys())\n",
        "        folder.gone = []\n",
    ),
    _merge(
        "one whiteout less",
        "        folder.gone = sorted(below.keys() - node.children.keys())\n",
        "        folder.gone = sorted(below.keys() - node.children.keys())[1:]\n",
    ),
    _merge(
        "whiteouts of what is new",
        "        folder.gone = sorted(below.keys() - node.children.keys())\n",
        "        folder.gone = sorted(below.keys() ^ node.children.keys())\n",
    ),
    _merge(
        "whiteouts of all that the base has",
        "        folder.gone = sorted(below.keys() - node.children.keys())\n",
        "        folder.gone = sorted(below.keys())\n",
    ),
    _merge(
        "whiteouts in disorder",
        "        folder.gone = sorted(below.keys() - node.children.keys())\n",
        "        folder.gone = sorted(below.keys() - node.children.keys(), reverse=True)\n",
        _case("w32"),
        "the order of whiteouts does not matter to an engine, only to who compares bytes",
    ),
    _merge(
        "a whiteout without its prefix",
        "header(join(folder.path, WHITEOUT_PREFIX + name), REG)",
        "header(join(folder.path, name), REG)",
    ),
    _merge(
        "a whiteout in the root",
        "header(join(folder.path, WHITEOUT_PREFIX + name), REG)",
        "header(WHITEOUT_PREFIX + name, REG)",
    ),
    _merge(
        "whiteouts do not make a directory live",
        "            folder.live, folder.carried = bool(folder.gone), False\n",
        "            folder.live, folder.carried = False, False\n",
    ),
    _merge(
        "a written directory without its whiteouts",
        "                    or item.gone\n                    or not written\n",
        "                    or not written\n",
    ),
    _merge(
        "an unwritten directory without its whiteouts",
        "                    if written or item.gone:\n",
        "                    if written:\n",
    ),
    # ---------------------------------------------------------------- M4: what is written
    _merge(
        "only the layers above the first squashed one count",
        "            if state.layer >= first:\n",
        "            if state.layer > first:\n",
    ),
    _merge(
        "everything is written",
        "            if state.layer >= first:\n",
        "            if state.layer >= 0:\n",
        _case("h05"),
        MINIMAL,
    ),
    _merge(
        "the state of a hard link is not looked at",
        "            state = stamps.get(node, node) if stamps else node\n",
        "            state = node\n",
    ),
    _merge(
        "the last run of a directory is lost",
        "                self._propose(folder, name, node, state, lower)\n        if run:\n",
        "                self._propose(folder, name, node, state, lower)\n        if not run:\n",
    ),
    _merge(
        "a run is forgotten before a directory",
        "                        self._items.append(_Run(folder, run))\n                        run = []\n",
        "                        run = []\n",
    ),
    _merge(
        "what the base shares is never entered",
        "                if node is not lower or whole:\n",
        "                if node is not lower:\n",
    ),
    _merge(
        "directories that changed are not entered",
        "                if node is not lower or whole:\n",
        "                if node is lower or whole:\n",
    ),
    _merge(
        "files of the base that got a name are not written again",
        "        self._whole = bool(restamped)\n",
        "        self._whole = False\n",
    ),
    _merge(
        "links of the lowest squashed layer to files of the base do not count",
        "if entry.layer < first <= state.layer\n",
        "if entry.layer < first < state.layer\n",
    ),
    # ---------------------------------------------------------------- D1: what the base provides
    _merge(
        "attributes do not matter",
        "            and state.same_attributes(below)\n",
        "",
    ),
    _merge(
        "one name of a file speaks for all",
        "        if known is not lower or not agree:\n",
        "        if False:\n",
        _case("d0-group"),
        "names that lead to other files are told by their groups; what is left is rule D0",
    ),
    _merge(
        "a file is provided below an implied directory",
        "            folder.solid\n            and not below",
        "            not below",
        _case("d0-parents"),
        "only overlay engines that had reset a directory above show other attributes: rule D0",
    ),
    _merge(
        "provided though engines differ on what a link made of it",
        "            and not below.flags & DISPUTED\n",
        "",
        _case("d3-name-gone"),
        "an image that gives a warning: rule D3",
    ),
    _merge(
        "provided though some engines went there through a lower symlink",
        "final.led.union(warning.path for warning in base.warnings)",
        "frozenset(warning.path for warning in base.warnings)",
        _case("d3-led"),
        "an image that gives a warning: rule D3",
    ),
    _merge(
        "provided where engines read the base differently",
        "            and (not self._doubt or self._trusted(join(folder.path, name)))\n",
        "",
        _case("d3-parent"),
        "an image that gives a warning: rule D3",
    ),
    _merge(
        "provided below a directory that engines read differently",
        "        return path not in self._disputed and not self._doubt.below(path)\n",
        "        return path not in self._disputed\n",
        _case("d3-overlay"),
        "an image that gives a warning: rule D3",
    ),
    _merge(
        "provided below a default ACL of the range",
        '            self._disputed.union(x.path for x in final.warnings if x.kind == "default-acl")\n',
        "            self._disputed\n",
        _case("d3-acl-in-range"),
        "an image that gives a warning: rule D3",
    ),
    _merge(
        "a directory with a default ACL of the range is not provided",
        "        return path not in self._disputed and not self._doubt.below(path)\n",
        "        return path not in self._doubt._tops and not self._doubt.below(path)\n",
        _case("d3-acl-gone"),
        MINIMAL,
    ),
    _merge(
        "groups of names are not compared",
        "                or uppers.get(x, _ONE) == lowers.get(b, _ONE)\n",
        "                or True\n",
    ),
    _merge(
        "content does not matter",
        "            if upper.kind != REG or not upper.size or here:\n",
        "            if True:\n",
    ),
    _merge(
        "files of the same place in other layers are the same",
        "            here = (upper.source, upper.data) == (lower.source, lower.data)\n",
        "            here = upper.data == lower.data\n",
    ),
    _merge(
        "questions that were answered with no count as yes",
        "        provided = self._provided | {self._questions[pair] for pair in same}\n",
        "        provided = self._provided | set(self._questions.values())\n",
    ),
    _merge(
        "nothing is provided",
        "        provided = self._provided | {self._questions[pair] for pair in same}\n",
        "        provided = set()\n",
        _case("d1-file"),
        MINIMAL,
    ),
    # ---------------------------------------------------------------- M5 to M7: headers and spans
    _merge(
        "links lose their time",
        "header(path, LINK, entry.owner, mtime=entry.mtime, link=first, xattrs=entry.xattrs)",
        "header(path, LINK, entry.owner, link=first, xattrs=entry.xattrs)",
    ),
    _merge(
        "links lose their xattrs",
        "header(path, LINK, entry.owner, mtime=entry.mtime, link=first, xattrs=entry.xattrs)",
        "header(path, LINK, entry.owner, mtime=entry.mtime, link=first)",
    ),
    _merge(
        "links lose their owner",
        "header(path, LINK, entry.owner, mtime=entry.mtime, link=first, xattrs=entry.xattrs)",
        "header(path, LINK, mtime=entry.mtime, link=first, xattrs=entry.xattrs)",
    ),
    _merge(
        "every name of a file brings its content",
        "        if first != path:\n",
        "        if False:\n",
    ),
    _merge(
        "a file with several names keeps the attributes it had first",
        "        entry = self._final.state(identity)\n",
        "        entry = identity\n",
    ),
    _merge(
        "the first name of a file has the time of its own header",
        "                mtime=entry.mtime,\n                link=target",
        "                mtime=identity.mtime,\n                link=target",
    ),
    _merge(
        "a rewritten file loses its time",
        "                mtime=entry.mtime,\n                link=target",
        "                link=target",
    ),
    _merge(
        "a rewritten symlink loses its target",
        'link=target if entry.kind == SYM else b""',
        'link=b"x"',
    ),
    _merge(
        "a rewritten device loses its number",
        "device=target if entry.kind in (CHR, BLK) else (0, 0)",
        "device=(0, 0)",
    ),
    _merge(
        "a rewritten sparse file loses its map",
        "                sparse=entry.sparse,\n",
        "",
    ),
    _merge(
        "a rewritten file loses its xattrs",
        "                xattrs=entry.xattrs,\n                sparse",
        "                sparse",
    ),
    _merge(
        "a rewritten file loses its content",
        "        self._span(entry.source, entry.data, entry.data + (entry.stored + 511 & -512))\n",
        "        self._literal(bytes(entry.stored + 511 & -512))\n",
    ),
    _merge(
        "a rewritten file has a block too few",
        "        self._span(entry.source, entry.data, entry.data + (entry.stored + 511 & -512))\n",
        "        self._span(entry.source, entry.data, entry.data + (entry.stored & -512))\n",
    ),
    _merge(
        "content is taken from the layer that last set the attributes",
        "        self._span(entry.source, entry.data, entry.data + (entry.stored + 511 & -512))\n",
        "        self._span(entry.layer, entry.data, entry.data + (entry.stored + 511 & -512))\n",
    ),
    _merge(
        "headers that have to change pass through",
        "                if entry.flags & REWRITE or (stamps and entry in stamps):\n",
        "                if stamps and entry in stamps:\n",
    ),
    _merge(
        "files with several names pass through",
        "                if entry.flags & REWRITE or (stamps and entry in stamps):\n",
        "                if entry.flags & REWRITE:\n",
    ),
    _merge(
        "spans of different layers are joined",
        "                if entry.source != source or begin != stop:\n",
        "                if begin != stop:\n",
    ),
    _merge(
        "spans are joined over what lies between",
        "                if entry.source != source or begin != stop:\n",
        "                if entry.source != source or begin < stop:\n",
    ),
    _merge(
        "a directory goes into the span of another layer",
        "                if own.source != source or begin != stop:\n",
        "                if begin != stop:\n",
    ),
    _merge(
        "extensions of a header stay behind",
        "                begin = entry.data - entry.lead\n                if entry",
        "                begin = entry.data - 512\n                if entry",
    ),
    _merge(
        "sparse files are taken with the size that they show",
        "(entry.size if entry.target is None else entry.stored) + 511 & -512\n        self._span(s",
        "entry.size + 511 & -512\n        self._span(s",
    ),
    _merge(
        "content is not padded",
        "                    stop += (entry.size if entry.target is None else entry.stored) + 511 & -512\n",
        "                    stop += entry.size if entry.target is None else entry.stored\n",
    ),
    _merge(
        "missing padding of a last block is not filled up",
        "        if stop > end:\n            self._literal(bytes(stop - end))\n",
        "",
    ),
    _merge(
        "an implied directory is only for its owner",
        "            if entry is None:\n                self._literal(header(path, DIR, _IMPLIED_OWNER",
        "            if entry is None:\n                self._literal(header(path, DIR, (0o700, 0, 0)",
    ),
    _merge(
        "a rewritten directory loses its time",
        "header(path, DIR, entry.owner, mtime=entry.mtime, xattrs=entry.xattrs)",
        "header(path, DIR, entry.owner, xattrs=entry.xattrs)",
    ),
    _merge(
        "a rewritten directory loses its xattrs",
        "header(path, DIR, entry.owner, mtime=entry.mtime, xattrs=entry.xattrs)",
        "header(path, DIR, entry.owner, mtime=entry.mtime)",
    ),
    _merge(
        "a directory above base names keeps the bytes of the header it had",
        "            elif entry.flags & REWRITE or folder.reason == _CARRIES:\n",
        "            elif entry.flags & REWRITE:\n",
        "tests/conformance/test_conformance.py::test_a_directory_of_the_base_is_not_read_again",
        "the header says the same, but a kept layer is unpacked once more for it",
    ),
    _merge(
        "names in disorder",
        "        names = sorted(node.children)\n",
        "        names = sorted(node.children, reverse=True)\n",
        _case("w01"),
        "engines show the same whatever the order of names is, only bytes differ",
    ),
    _merge(
        "names sorted the wrong way round a default ACL",
        "reached = [name for name in names if _inherits(node.children[name])]",
        "reached = [name for name in names if not _inherits(node.children[name])]",
        _case("x16"),
        "what inherits a default ACL is not in the layer but made by engines: an image that gives"
        " a warning",
    ),
    _merge(
        "no trailer",
        "        self._literal(TRAILER)\n",
        "",
        _case("w01"),
        "engines take the end of the bytes for the end of the layer; containerd 1.6 refuses none",
    ),
)

SQUASH = (
    _squash(
        "the tree of the base is the whole tree",
        "tree = lower.fork(kept)\n",
        "tree = lower\n",
    ),
    _squash(
        "the fork comes a layer too late",
        "if len(scans) == kept:\n",
        "if len(scans) == kept + 1:\n",
    ),
    _squash(
        "content is always the same",
        "same = same_content(draft.doubtful, scans, scans)\n",
        "same = set(draft.doubtful)\n",
    ),
    _squash(
        "content is never the same",
        "same = same_content(draft.doubtful, scans, scans)\n",
        "same = set()\n",
        _case("d1-file"),
        MINIMAL,
    ),
    _squash(
        "literals come after the span that they stand before",
        '            yield b"".join(literals)\n            literals = []\n        yield from contents[piece.source].slice(piece.start, piece.stop)\n',
        '            yield from contents[piece.source].slice(piece.start, piece.stop)\n            yield b"".join(literals)\n            literals = []\n            continue\n        yield from contents[piece.source].slice(piece.start, piece.stop)\n',
    ),
    _squash(
        "literals are never let go",
        '            yield b"".join(literals)\n            literals = []\n',
        '            yield b"".join(literals)\n',
    ),
    _squash(
        "a layer more is kept",
        "    layers = (*image.layers[:kept], layer)\n",
        "    layers = (*image.layers[: kept + 1], layer)\n",
    ),
    _squash(
        "the new layer stands below the base",
        "    layers = (*image.layers[:kept], layer)\n",
        "    layers = (layer, *image.layers[:kept])\n",
    ),
    _squash(
        "diff_ids in disorder",
        "    diff_ids = [*config.diff_ids[:kept], layer.diff_id]\n",
        "    diff_ids = [layer.diff_id, *config.diff_ids[:kept]]\n",
    ),
    _squash(
        "the diff_id of the base's lowest layer for the new one",
        "    diff_ids = [*config.diff_ids[:kept], layer.diff_id]\n",
        "    diff_ids = [*config.diff_ids[:kept], config.diff_ids[0]]\n",
    ),
    _squash(
        "a compressed blob has the digest of the tar",
        "        stored, blob_hash = content, tar_hash\n",
        "        stored, blob_hash = content, hashlib.sha256()\n",
    ),
)

WRITER = (
    _writer(
        "layers of the manifest are turned round",
        '        for layer in image.layers\n    ]\n    result["config"] = _typed',
        '        for layer in image.layers[::-1]\n    ]\n    result["config"] = _typed',
    ),
    _writer(
        "layers of manifest.json are turned round",
        '"Layers": [spec.blob_name(_digest(layer)) for layer in image.layers],',
        '"Layers": [spec.blob_name(_digest(layer)) for layer in image.layers[::-1]],',
    ),
    _writer(
        "the lowest layer is missing from manifest.json",
        '"Layers": [spec.blob_name(_digest(layer)) for layer in image.layers],',
        '"Layers": [spec.blob_name(_digest(layer)) for layer in image.layers[1:]],',
    ),
    _writer(
        "manifest.json has no tags",
        '        "RepoTags": list(image.tags),\n',
        '        "RepoTags": [],\n',
    ),
    _writer(
        "the index has no names",
        "    for name in names or [{}]:\n",
        "    for name in [{}]:\n",
    ),
    _writer(
        "the index has the short name",
        "dict.fromkeys(_NAMES, spec.full_name(tag)) for tag in tags",
        'dict.fromkeys(_NAMES, "x/" + tag) for tag in tags',
    ),
    _writer(
        "a blob is empty",
        "            blobs[_digest(layer)] = layer.blob.content\n",
        "            blobs[_digest(layer)] = Content(())\n",
    ),
    _writer(
        "all layers have the bytes of the lowest",
        "            blobs[_digest(layer)] = layer.blob.content\n",
        "            blobs[_digest(layer)] = image.layers[0].blob.content\n",
    ),
    _writer(
        "the config is missing",
        "        blobs[image.config.image_id] = Content((image.config.raw,))\n",
        "",
    ),
    _writer(
        "the manifest is not stored",
        "    blobs[digest] = Content((data,))\n",
        "",
    ),
    _writer(
        "the size of the config is wrong",
        "spec.descriptor(config_type, image.config.image_id, len(image.config.raw))",
        "spec.descriptor(config_type, image.config.image_id, len(image.config.raw) + 1)",
    ),
    _writer(
        "the size of the manifest is wrong",
        "    return digest, len(data)\n",
        "    return digest, len(data) + 1\n",
    ),
    _writer(
        "the size of a layer is wrong",
        "spec.descriptor(layer.blob.media_type, _digest(layer), layer.blob.size)",
        "spec.descriptor(layer.blob.media_type, _digest(layer), layer.blob.size + 1)",
    ),
    _writer(
        "members are not padded",
        "        yield bytes(-content.size % BLOCK)\n",
        "",
    ),
    _writer(
        "members are padded when they need not be",
        "        yield bytes(-content.size % BLOCK)\n",
        "        yield bytes(BLOCK - content.size % BLOCK)\n",
    ),
    _writer(
        "the first window of a member only",
        "        yield _header(member, content)\n        try:\n            for window in content.windows(_WINDOW):\n                yield window\n",
        "        yield _header(member, content)\n        try:\n            for window in content.windows(_WINDOW):\n                yield window[:-1]\n",
    ),
    _writer(
        "headers of members have another size",
        "(0o644, 0, 0), size=content.size)",
        "(0o644, 0, 0), size=content.size // 2)",
    ),
    _writer(
        "members come twice",
        "    for member, content in written.members:\n",
        "    for member, content in written.members * 2:\n",
    ),
    _writer(
        "the index is missing",
        '    documents["index.json"] = spec.dump(index).encode("ascii")\n',
        "",
    ),
    _writer(
        "the index leads nowhere",
        '"manifests": pointers}\n',
        '"manifests": []}\n',
    ),
    _writer(
        "manifest.json is missing",
        '        documents["manifest.json"] = spec.dump(items).encode("ascii")\n',
        "",
    ),
    _writer(
        "members in disorder",
        "        return sorted(found.items())\n",
        "        return sorted(found.items(), reverse=True)\n",
        "tests/unit/test_writer.py::test_members_are_sorted_files_without_times_and_owners",
        "loaders find members by name",
    ),
    _writer(
        "only what was written first is in the file",
        "    for chunk in chunks:\n        _put(stream, chunk, name)\n",
        "    for chunk in chunks:\n        _put(stream, chunk[:4096], name)\n",
    ),
    _writer(
        "the file takes its name before it is looked at",
        "        yield StagedFile(temporary, target, name)\n",
        "        yield StagedFile(target, target, name)\n",
    ),
)

MUTATIONS = (*MERGE, *SQUASH, *WRITER)
