"""Results of earlier commands that lie among the photos: they are not photos of the next command."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath

from nst_core.client import ApiError, Client
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import DEFAULT_NAME
from scheduler.cli.transfer.results import Naming
from scheduler.domain.naming import output_suffix

OWN_RESULT, EARLIER_RESULT = "own_result", "earlier_result"
#: Returns those of some files that jobs are known to have made.
Made = Callable[[Collection[Path]], Collection[Path]]
_GROUPS = {"stem": "(?P<stem>[^/]+)", "index": "(?P<index>[0-9]{6})", "ext": "(?P<ext>jpg|png|webp)"}
_SHARE = r"-[0-9.]+(?:e[+-][0-9]+)?"
#: In place of a suffix.
_ANY = "*"
#: The most jobs, newest first, whose results are compared with files.
_MOST_JOBS = 100
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How results of a template and a style are called."""

    pattern: re.Pattern[str]
    #: Folders that are part of the template.
    depth: int
    code: str
    #: With a style, the name alone tells; without one, the suffix has to be that of this command's results too.
    has_style: bool


class EarlierResults:
    """Recognises results next to their photos: by their names, and if these say too little, by what jobs have made.

    The styles are those of the command and all that are `known`; the places of photos in their jobs may have changed.
    """

    def __init__(self, naming: Naming, *, known: Sequence[str] = (), made: Made = lambda paths: ()) -> None:
        """`made` is asked about names without a style, which a photo could have too."""
        self._folder = naming.target.folder
        self._format = naming.format
        self._made = made
        self._has_stem = "{stem}" in naming.template
        self._is_sure = "{style}" in naming.template
        self._forms = tuple(_forms(naming, known))
        self._asked: dict[Path, bool] = {}

    def among(self, files: Sequence[tuple[Path, Collection[PurePosixPath]]]) -> dict[Path, str]:
        """Return those of some files that are results of others, with codes that tell which.

        Each file comes with the names that it has or may have had in an upload.
        """
        if self._folder is None or not self._folder.is_dir():
            return {}
        real = cache(os.path.realpath)
        possible = set()
        for _, names in files:
            for name in names:
                place, suffix = real(self._folder / name.parent), output_suffix(name.name, self._format)
                possible |= {(place, stem, each) for stem in (name.stem, None) for each in (suffix, _ANY)}
        found = {}
        for path, _ in files:
            folder = Path(real(path.parent))
            for form in self._forms:
                parts = folder.parts[len(folder.parts) - form.depth :] if form.depth else ()
                match = form.pattern.fullmatch("/".join((*parts, path.name)))
                place = str(folder.parents[form.depth - 1]) if form.depth and parts else str(folder)
                if match is None:
                    continue
                suffix = _ANY if form.has_style else match["ext"]
                if (place, match.groupdict().get("stem"), suffix) in possible:
                    found[path] = form.code
                    break
        return self._sure(found)

    def _sure(self, found: dict[Path, str]) -> dict[Path, str]:
        """Return the files without those that may be photos."""
        unsure = [path for path, code in found.items() if code == OWN_RESULT and not self._is_sure]
        if new := [path for path in unsure if path not in self._asked]:
            made = self._made(new)
            self._asked |= {path: path in made for path in new}
        return {path: code for path, code in found.items() if path not in unsure or self._asked[path]}


def _forms(naming: Naming, known: Sequence[str]) -> Iterator[_Form]:
    own = list(dict.fromkeys(naming.styles))
    others = [name for name in dict.fromkeys(known) if name not in own]
    any_style = "|".join(map(re.escape, [*own, *others]))
    blend = rf"(?:{any_style}){_SHARE}(?:\+(?:{any_style}){_SHARE})+"
    for template in dict.fromkeys((naming.template, DEFAULT_NAME)):
        depth, is_own = template.count("/"), template == naming.template
        if "{style}" in template:
            for style in own:
                yield _Form(
                    pattern=_pattern(template, re.escape(style)),
                    depth=depth,
                    code=OWN_RESULT if is_own else EARLIER_RESULT,
                    has_style=True,
                )
            for style in (*map(re.escape, others), blend):
                yield _Form(pattern=_pattern(template, style), depth=depth, code=EARLIER_RESULT, has_style=True)
        elif "{stem}" in template and template != "{stem}.{ext}":
            yield _Form(pattern=_pattern(template, ""), depth=depth, code=OWN_RESULT, has_style=False)
        # Other names, such as {index}.{ext}, do not say of which photo a result is: such a file may well be a photo.


def _pattern(template: str, style: str) -> re.Pattern[str]:
    """Return the pattern of the results' names; `style` is a pattern too."""
    seen, parts = set[str](), list[str]()
    for number, part in enumerate(re.split(r"\{(\w+)\}", template)):
        if number % 2 == 0:
            parts.append(re.escape(part))
        elif part == "style":
            parts.append(f"(?:{style})")
        else:
            parts.append(f"(?P={part})" if part in seen else _GROUPS[part])
            seen.add(part)
    return re.compile("".join(parts))


def made_by_jobs(client: Client, template: str, paths: Collection[Path]) -> set[Path]:
    """Return those of some files that are results of a job with the same template, to the byte.

    If the key may not see jobs, or the job was deleted, nobody knows.
    """
    unknown: dict[str, list[Path]] = {}
    for path in paths:
        with suppress(OSError), path.open("rb") as file:  # what cannot be read is reported as a photo
            unknown.setdefault(hashlib.file_digest(file, "sha256").hexdigest(), []).append(path)
    found = set[Path]()
    try:
        for job in islice(client.jobs(page=_MOST_JOBS), _MOST_JOBS):
            if not unknown:
                break
            if job.output.name == template:
                for item in client.items(job.id, status=ItemStatus.SUCCEEDED, page=_PAGE):
                    found.update(unknown.pop(item.sha256 or "", ()))
    except ApiError as error:
        if error.status not in (403, 404):
            raise
    return found
