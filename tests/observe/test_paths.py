"""What is checked of a path before the daemon starts."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from openai_proxy.observe.paths import check_directory


def test_workers_that_check_one_directory_together_do_not_disturb_each_other(tmp_path):
    """Each of them finds that it can be made, and nothing stays behind."""
    wanted = str(tmp_path / "of a day" / "logs")
    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(check_directory, [wanted] * 400)) == {wanted}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ("file/logs", "is not a directory"),
        (f"{'n' * 300}/logs", "cannot be created: File name too long"),
    ],
)
def test_a_directory_that_cannot_be_made_is_refused(tmp_path, below, reason):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=reason):
        check_directory(str(tmp_path / below))
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
