"""The folder of a film: opening it to look, and to work in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from storymem.errors import FilmDamagedError, FilmError, InputError, StorageError
from storymem.film.film_settings import FilmSettings
from storymem.film.kept_script import keep_script
from storymem.film.lock import locked
from storymem.film.manifest import KeptTake, Manifest, read_manifest, write_manifest
from storymem.film.override import Override
from storymem.film.picks import Pick
from storymem.film.place import MANIFEST, REFERENCES, TAKES, check_place, load_manifest, make_place
from storymem.film.references import (
    Image,
    ReferenceStore,
    read_references,
    reference_labels,
    reference_set_key,
    same_references,
)
from storymem.film.storage import remove_file, replace_file, sweep
from storymem.film.takes import KEY_LENGTH, Take, TakeStore
from storymem.film.tools import Tools
from storymem.media import resize_frame
from storymem.memory.bank import Keyframe, MemoryPolicy
from storymem.memory.keyframes import encode_references
from storymem.story.model import Shot, Story

__all__ = ["Film"]


class Film:
    """A film's folder with what `film.json` says.

    `Film.open` is for looking and needs no lock. `Film.begin` and `Film.work` hold the lock for their block; only there
    may the film be changed.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, saved: bool = True, writable: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest
        self._saved = write_manifest(manifest) if saved else None  # what film.json holds
        self.takes = TakeStore(folder / TAKES)
        self.references = ReferenceStore(folder / REFERENCES)
        self._writable = writable
        self._previewed: tuple[Keyframe, ...] | None = None  # reference images of a preview, which are not kept
        self._script: tuple[bytes, Manifest] | None = None  # kept with the next save, and the film as it was before
        self.edited_script: Path | None = None
        """Where a script is now that somebody edited in the folder, and that another one was put in place of."""

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether the folder has a film, whole or not."""
        return (folder / MANIFEST).is_file()

    @classmethod
    def keeps_pictures(cls, folder: Path) -> bool:
        """Whether the folder has reference images, so that a film goes on without the originals.

        Raises:
            FilmError, FilmDamagedError: as `open`.
        """
        return load_manifest(folder).references is not None if cls.is_in(folder) else (folder / REFERENCES).is_dir()

    @classmethod
    def open(cls, folder: Path) -> Film:
        """The film in a folder, to look at; another process may be working in it.

        Raises:
            FilmError: there is none, or a newer storymem made it.
            FilmDamagedError: `film.json` is not as it was written.
        """
        return cls(folder, load_manifest(folder))

    @classmethod
    @contextmanager
    def work(cls, folder: Path) -> Iterator[Film]:
        """The film in a folder, to change it, for one block.

        Raises:
            FilmLockedError: another process is working in it.
            FilmError: there is none, a newer storymem made it, or it may not be written to.
            FilmDamagedError: `film.json` is not as it was written.
            StorageError: the system refused a write.
        """
        load_manifest(folder)  # a folder without a film gets no lock file
        with locked(folder):
            film = cls(folder, load_manifest(folder), writable=True)
            film._sweep()
            try:
                yield film
            finally:
                film._writable = False

    @classmethod
    @contextmanager
    def begin(
        cls,
        folder: Path,
        *,
        story: Story,
        script: bytes,
        settings: FilmSettings,
        tools: Tools,
        adopt_settings: bool = False,
    ) -> Iterator[Film]:
        """The film of a story in a folder, begun or gone on with, to change it, for one block.

        Args:
            folder: made if it is missing.
            story: what the film is to show. A new version of the script is taken over; the plan says what that made
                stale.
            script: the content of the script's file, kept as it is.
            settings: of the film.
            tools: what makes it.
            adopt_settings: go on with these settings and tools though the film was made with others. Without it, that
                is an error, so that a film is never mixed by accident. They are noted together with the first take
                that is made with them: a start that fails changes nothing.

        Raises:
            FilmLockedError: another process is working in it.
            FilmError: the folder has other things in it, may not be written to, a newer storymem made the film, it
                was made with other settings or is another film, or a shot is too short to continue the one before.
            FilmDamagedError: `film.json` is not as it was written.
            MediaError: a reference image cannot be read.
            StorageError: the system refused a write.
        """
        check_place(folder)
        make_place(folder)
        with locked(folder):
            sweep(folder)
            found, begun = {entry.name for entry in folder.iterdir()}, not cls.is_in(folder)
            film = cls._take_over(folder, story, script, settings, tools, adopt_settings=adopt_settings)
            film._sweep()
            try:
                yield film
            except InputError:
                if begun and not film.manifest.kept:  # a LoRA that does not fit must not be the film's from now on
                    with suppress(StorageError):
                        for name in {film.manifest.script_name, MANIFEST} - found:
                            remove_file(folder / name)
                raise
            finally:
                film._writable = False

    @classmethod
    def _take_over(
        cls, folder: Path, story: Story, script: bytes, settings: FilmSettings, tools: Tools, *, adopt_settings: bool
    ) -> Film:
        film, asked = cls._asked(folder, story, script, settings, tools, adopt_settings=adopt_settings)
        film._writable = True
        before = film.manifest
        policy = MemoryPolicy.from_config(asked.settings.memory, pinned=before.pinned, banned=before.banned)
        references = film._keep_references(asked.story, asked.settings, tools)
        if references is not None:
            policy.start(film.references.load(references))  # says so if there are more than the memory has places
        adopted = before.adopt(asked, references=references, comes_back=film._comes_back)
        adopted = replace(adopted, script_name=asked.script_name, script_sha256=asked.script_sha256)
        film._script = script, before
        if film._saved is not None and before.differences(asked.settings, asked.tools):
            film.manifest = adopted
        else:
            film.save(adopted)
        return film

    @classmethod
    def _asked(
        cls, folder: Path, story: Story, script: bytes, settings: FilmSettings, tools: Tools, *, adopt_settings: bool
    ) -> tuple[Film, Manifest]:
        """The film as it is in the folder (or would begin), and the manifest that is asked for."""
        facts = tools.facts(settings.memory)
        suffix = story.source.suffix if story.source is not None and story.source.suffix else ".yaml"
        asked = Manifest(story, f"script{suffix}", hashlib.sha256(script).hexdigest(), settings, facts)
        # Through the file's form and back: what is compared and used is what a later process will read.
        asked = read_manifest(write_manifest(asked), folder / MANIFEST)
        # Before anything is saved: a film that cannot be planned could not even be looked at.
        asked.check_lengths()
        asked.check_pictures()
        saved = cls.is_in(folder)
        before = load_manifest(folder) if saved else asked
        if before.chosen and not adopt_settings and before.is_another(story):
            raise FilmError(
                f"{folder}: holds the film {before.story.title!r} ({len(before.story.shots)} shots), and no shot of "
                f"{story.title!r} is in it: choose another folder, or add --remake to make this film in its place."
            )
        differences = before.differences(asked.settings, asked.tools)
        if differences and before.chosen and not adopt_settings:
            raise FilmError(
                f"{folder}: this film was made with {'; '.join(differences)}: leave that out of the options and the "
                "script to go on with the film's own settings, add --remake to make it again with the new ones, or "
                "choose another folder."
            )
        return cls(folder, before, saved=saved), asked

    @classmethod
    def preview(
        cls,
        folder: Path,
        *,
        story: Story,
        script: bytes,
        settings: FilmSettings,
        tools: Tools,
        adopt_settings: bool = False,
    ) -> Film:
        """The film as `begin` would open it, to plan with: nothing is written, and no lock is needed.

        Raises:
            FilmError, FilmDamagedError, MediaError: as `begin`.
        """
        check_place(folder)
        film, asked = cls._asked(folder, story, script, settings, tools, adopt_settings=adopt_settings)
        images = film._reference_images(asked.story, asked.settings)
        references = reference_set_key(images, tools.encoder.identity) if images else None
        if images and references != film.manifest.references:
            film._previewed = encode_references(
                [image.pixels for image in images], encoder=tools.encoder, labels=[image.label for image in images]
            )
        film.manifest = film.manifest.adopt(asked, references=references, comes_back=film._comes_back)
        film.policy.start(film.reference_keyframes())  # says so if there are more than the memory has places
        return film

    def _comes_back(self, shot: Shot) -> bool:
        """Whether the take that was in the film under this id shows what the shot is to show."""
        try:
            take = self.chosen_take(shot.id)
        except FilmDamagedError:
            return False
        override = self.manifest.override(shot.id)  # one that does not know what it is about says nothing here
        told = shot.prompt if override.over is None else override.prompt_for(shot.prompt)
        return take is not None and take.record.prompt == told

    def _keep_references(self, story: Story, settings: FilmSettings, tools: Tools) -> str | None:
        """The key of the kept set of the story's reference images."""
        images = self._reference_images(story, settings)
        return self.references.keep(images, tools.encoder) if images else None

    def _reference_images(self, story: Story, settings: FilmSettings) -> tuple[Image, ...]:
        """The story's reference images in the film's size; the kept ones serve if originals are gone."""
        width, height = settings.sampling.width, settings.sampling.height
        if (kept := self._kept_references(story)) is None:
            return read_references(story, width, height)
        # Perhaps for another size or another encoder, so they are looked at as the originals would be.
        return tuple(Image(k.label, resize_frame(k.pixels, width, height)) for k in self.references.load(kept))

    def _kept_references(self, story: Story) -> str | None:
        """The key of the kept set, if it is of the story's reference images and originals are gone."""
        if all(path.is_file() for path in story.references):
            return None
        known = self.manifest.references
        if known is None:  # film.json was lost
            return self.references.find(reference_labels(story))
        return known if same_references(story, self.manifest.story) else None

    def _sweep(self) -> None:
        sweep(self.folder)
        self.references.sweep()
        self.takes.sweep({*(shot.id for shot in self.manifest.all_shots), *self.manifest.kept})

    def save(self, manifest: Manifest) -> None:
        """Replace `film.json`, if it changes; afterwards the new one is on the disk.

        Raises:
            StorageError: the system refused it; the old one is still valid.
        """
        assert self._writable, "a film is changed only inside Film.begin or Film.work"
        path = self.folder / MANIFEST
        data = write_manifest(manifest)
        if data != self._saved:
            replace_file(path, data)
        self.manifest, self._saved = read_manifest(data, path), data
        if self._script is not None:
            script, before = self._script
            self.edited_script = keep_script(self.folder, script, before=before, now=manifest)
            self._script = None

    @property
    def policy(self) -> MemoryPolicy:
        """How the memory goes on from shot to shot."""
        manifest = self.manifest
        return MemoryPolicy.from_config(manifest.settings.memory, pinned=manifest.pinned, banned=manifest.banned)

    def reference_keyframes(self) -> tuple[Keyframe, ...]:
        """The cast's reference images.

        Raises:
            FilmDamagedError: they are missing or not as they were written.
        """
        if self._previewed is not None:
            return self._previewed
        key = self.manifest.references
        return () if key is None else self.references.load(key)

    def chosen_take(self, shot_id: str, *, verify: bool = False) -> Take | None:
        """The take of a shot that is in the film; None if none is, or if it is gone.

        Args:
            shot_id: the shot.
            verify: read every byte of it.

        Raises:
            FilmDamagedError: it is not as it was written.
        """
        key = self.manifest.chosen.get(shot_id)
        return None if key is None else self.takes.find(shot_id, key, verify=verify)

    def choose(self, shot_id: str, key: str) -> Take:
        """Put another kept take of a shot into the film, with the prompt and the seed that it was made from.

        Args:
            shot_id: the shot.
            key: the beginning of the take's key.

        Raises:
            FilmError: no take of this shot has such a key, or more than one has.
            FilmDamagedError: the take is not as it was written.
            StorageError: the system refused a write.
        """
        take = self._kept_take(shot_id, key)
        shot = self.manifest.shot(shot_id)
        recipe, pick, settings = take.record.recipe, self.manifest.pick(shot_id), self.manifest.settings
        is_own = recipe.seed == self.manifest.own_seed(shot_id)
        if shot.seed is None and pick.why_again(settings.takes, settings.critic):
            is_own = False  # or the next choice would undo this one
        override = Override(
            seed=None if is_own else recipe.seed,
            prompt=None if take.record.prompt == shot.prompt else take.record.prompt,
            retakes=self.manifest.override(shot_id).retakes,
        ).of(shot.prompt)
        self.enter(take, override)
        return take

    def enter(
        self, take: Take, override: Override | None = None, *, pick: Pick | None = None, beside: Sequence[KeptTake] = ()
    ) -> None:
        """Put a take into the film; takes of its shot whose folders are gone leave the list of those that are kept.

        Args:
            take: of a shot of the film.
            override: what is changed in the shot with it; None leaves that as it is.
            pick: likewise, as which of several takes it was chosen.
            beside: all takes that it was chosen from, to be kept.

        Raises:
            StorageError: the system refused a write.
        """
        shot_id = take.record.shot_id
        if self.manifest.chosen.get(shot_id) != take.key:
            self.takes.confirm(take)
        kept = tuple(k for k in self.manifest.kept.get(shot_id, ()) if self.takes.folder_of(shot_id, k.key).is_dir())
        manifest = replace(self.manifest, kept={**self.manifest.kept, shot_id: kept}).with_kept(shot_id, beside)
        self.save(manifest.with_take(shot_id, KeptTake(take.key, take.record.recipe.seed), override, pick))

    def keep(self, take: Take) -> None:
        """Note a finished take that is not in the film, or not yet.

        Raises:
            StorageError: the system refused a write.
        """
        kept = KeptTake(take.key, take.record.recipe.seed)
        self.save(self.manifest.with_kept(take.record.shot_id, (kept,)))

    def _kept_take(self, shot_id: str, key: str) -> Take:
        self.manifest.shot(shot_id)
        kept = [take.key for take in self.manifest.kept.get(shot_id, ())]
        fitting = [full for full in kept if full.startswith(key)] if key else []
        if len(fitting) > 1:
            raise FilmError(f"{len(fitting)} takes of shot {shot_id} begin with {key!r}: give more of the key.")
        take = None
        if fitting:
            take = self.takes.find(shot_id, fitting[0], verify=True)
            if take is None:
                raise FilmDamagedError(
                    f"The take {key} of shot {shot_id} is no longer in {self.takes.folder}: choose another."
                )
        elif len(key) == KEY_LENGTH:  # the name of its folder, where film.json was lost
            take = self.takes.find_named(shot_id, key)
        if take is None:
            known = ", ".join(full[:KEY_LENGTH] for full in kept) or "none"
            raise FilmError(f"Shot {shot_id} has no take {key!r}; its takes are: {known}.")
        return take

    def pin(self, keyframes: Iterable[str] = (), *, ban: Iterable[str] = (), free: Iterable[str] = ()) -> None:
        """Pin keyframes (they always stay in the memory), ban some (they never enter it), or free them of either.

        Raises:
            SettingsError: more are pinned than the memory has places, or one is pinned and banned.
            StorageError: the system refused a write.
        """
        pins, bans, freed = set(keyframes), set(ban), set(free)
        pinned = tuple(sorted((set(self.manifest.pinned) | pins) - bans - freed | (pins & bans)))
        banned = tuple(sorted((set(self.manifest.banned) | bans) - pins - freed | (pins & bans)))
        MemoryPolicy.from_config(self.manifest.settings.memory, pinned=pinned, banned=banned)
        self.save(replace(self.manifest, pinned=pinned, banned=banned))
