"""A small project under git and DVC, as one person's clone of it looks."""

from pathlib import Path

import pytest

from tests.dvc_project import DvcProject, copy_dvc_project, make_dvc_project


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> DvcProject:
    """Give the project that copies are made of."""
    return make_dvc_project(tmp_path_factory.mktemp("dvc") / "team")


@pytest.fixture
def team(made: DvcProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DvcProject:
    """Give a copy to be harmed, in which the test runs."""
    project = copy_dvc_project(made, tmp_path / "team")
    monkeypatch.chdir(project.root)
    return project
