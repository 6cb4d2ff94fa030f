"""The tier on disk, on a real one that is hostile."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.caches.disk import BLOCK_BYTES, DiskTier, FolderInUseError
from saccade.serving.caches.eviction import eviction
from tests.unit.caches.some_features import an_entry, equal, name, some_features

MANY = 100 * BLOCK_BYTES


def a_tier(folder: Path, budget_bytes: int = MANY) -> DiskTier:
    return DiskTier(folder, budget_bytes, eviction("gdsf"))


def keep(tier: DiskTier, key: str, seed: int = 0, *, owner: str = "", num_tokens: int = 6) -> None:
    tokens = some_features(seed, num_tokens)
    tier.write(an_entry(key, tokens, owner=owner), name(f"alias of {key}"), tokens)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[DiskTier]:
    tier = a_tier(tmp_path / "cache")
    yield tier
    tier.close()


@pytest.mark.parametrize("positions", [True, False])
def test_what_is_written_is_read_also_after_a_restart(tmp_path: Path, positions: bool) -> None:
    tokens = some_features(3, positions=positions)
    first = a_tier(tmp_path)
    first.write(an_entry("a", tokens, cost_ms=12.5, owner="me"), name("alias"), tokens)
    first.close()
    second = a_tier(tmp_path)
    found = second.read(name("a"))
    assert found is not None
    assert equal(found[0], tokens)
    assert (found[1].cost_ms, found[1].owner) == (12.5, name("me"))
    assert second.aliases() == {name("alias"): name("a")}
    second.close()


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    first = a_tier(tmp_path)
    with pytest.raises(FolderInUseError, match=str(tmp_path)):
        a_tier(tmp_path)
    first.close()
    a_tier(tmp_path).close()


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    tier = a_tier(tmp_path / "deep" / "cache")
    assert (tmp_path / "deep" / "cache").stat().st_mode & 0o777 == 0o700
    tier.close()


@given(sizes=st.lists(st.integers(1, 1500), max_size=12), num_blocks=st.integers(1, 8))
def test_the_files_never_take_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], num_blocks: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    tier = a_tier(folder, num_blocks * BLOCK_BYTES)
    for index, num_tokens in enumerate(sizes):
        keep(tier, str(index), num_tokens=num_tokens)
        taken = sum(-(-path.stat().st_size // BLOCK_BYTES) for path in files(folder))
        assert taken * BLOCK_BYTES == tier.stats().num_bytes <= num_blocks * BLOCK_BYTES
        assert len(files(folder)) == tier.stats().num_entries
    tier.close()
    shutil.rmtree(folder)


def test_a_smaller_budget_after_a_restart_is_kept(tmp_path: Path) -> None:
    tier = a_tier(tmp_path)
    for key in "abc":
        keep(tier, key)
    tier.close()
    tier = a_tier(tmp_path, 2 * BLOCK_BYTES)
    assert len(files(tmp_path)) == 2 == tier.stats().num_entries
    tier.close()


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    tier = a_tier(folder)
    keep(tier, "a")
    [path] = files(folder)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    assert tier.read(name("a")) is None
    assert name("a") not in tier
    assert (tier.stats().num_corrupted, tier.stats().num_bytes) == (1, 0)
    assert files(folder) == []
    keep(tier, "a")
    assert tier.read(name("a")) is not None
    tier.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_found(tier: DiskTier, tmp_path: Path, length: int) -> None:
    keep(tier, "a")
    [path] = files(tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:length])
    assert tier.read(name("a")) is None
    assert tier.stats().num_corrupted == 1


def test_a_file_under_the_name_of_another_is_found(tier: DiskTier, tmp_path: Path) -> None:
    keep(tier, "a", 1)
    keep(tier, "b", 2)
    first, second = files(tmp_path / "cache")
    second.write_bytes(first.read_bytes())
    assert tier.read(name("b")) is None
    assert tier.stats().num_corrupted == 1


def test_an_entry_that_was_deleted_is_a_miss(tier: DiskTier, tmp_path: Path) -> None:
    keep(tier, "a")
    files(tmp_path / "cache")[0].unlink()
    assert tier.read(name("a")) is None
    assert tier.stats().num_entries == 0


def test_a_folder_that_was_deleted_is_made_again(tier: DiskTier, tmp_path: Path) -> None:
    keep(tier, "a")
    shutil.rmtree(tmp_path / "cache")
    assert tier.read(name("a")) is None
    keep(tier, "b")
    assert tier.read(name("b")) is not None
    assert tier.stats().num_entries == 1


def test_a_full_disk_loses_the_entry_and_nothing_else(
    tier: DiskTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tier, "a")
    whole = Path.write_bytes

    def until_full(path: Path, data: bytes) -> int:
        whole(path, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", until_full)
        keep(tier, "b")
    assert name("b") not in tier
    assert (tier.stats().num_entries, tier.stats().num_errors) == (1, 1)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name != "lock"] == [
        files(tmp_path / "cache")[0].name
    ]
    assert tier.read(name("a")) is not None


def test_what_a_crash_left_unfinished_is_removed_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    unfinished = tmp_path / "half.safetensors.unfinished"
    foreign = tmp_path / "model.safetensors"
    for path in (unfinished, foreign):
        path.write_bytes(b"x")
    a_tier(tmp_path).close()
    assert not unfinished.exists()
    assert foreign.exists()


def test_clearing_one_owner_leaves_the_others(tier: DiskTier, tmp_path: Path) -> None:
    keep(tier, "a", owner="one")
    keep(tier, "b", owner="two")
    assert [entry.key for entry in tier.clear(name("one"))] == [name("a")]
    assert name("b") in tier
    tier.clear()
    assert files(tmp_path / "cache") == []
    assert tier.stats().num_bytes == 0
