"""What `quern --version` says was built is what was built: a small project with the same CMake file, built as its tree changes."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = f"""cmake_minimum_required(VERSION 3.22)
project(identity LANGUAGES CXX)
include({ROOT}/cmake/commit.cmake)
add_library(identity STATIC identity.cc)
quern_commit_header(identity)
add_executable(say say.cc)
target_link_libraries(say PRIVATE identity)
"""


class Project:
    def __init__(self, folder):
        self.folder = folder
        (folder / "CMakeLists.txt").write_text(PROJECT)
        (folder / "identity.cc").write_text('#include "build_commit.h"\nextern const char* const commit = QUERN_COMMIT;\n')
        (folder / "say.cc").write_text('#include <cstdio>\nextern const char* const commit;\nint main() { std::puts(commit); }\n')
        (folder / ".gitignore").write_text("/build/\n")

    def run(self, *command, **environment):
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True, env={**os.environ, **environment}).stdout.strip()

    def git(self, *arguments):
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "--short=12", "HEAD")

    def built(self):
        """What the program says after a build."""
        if not (self.folder / "build/build.ninja").exists():
            self.run("cmake", "-G", "Ninja", "-S", ".", "-B", "build")
        return self.run("ninja", "-C", "build") and self.run("build/say")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_build_says_the_commit_that_it_was_made_of(project):
    project.git("init", "-q")
    first = project.commit("one")
    assert project.built() == first
    second = project.commit("two")
    assert second != first and project.built() == second, "configured once, built twice"
    say = project.folder / "say.cc"
    say.write_text(say.read_text() + "// not committed\n")
    assert project.built() == second + "-dirty"
    assert project.commit("three") == project.built()


def test_nothing_is_compiled_where_nothing_changed(project):
    project.git("init", "-q")
    project.commit("one")
    project.built()
    done = project.run("ninja", "-C", "build", "-v")
    assert "identity.cc" not in done and "say.cc" not in done and " -o say" not in done, done
    project.commit("two")
    done = project.run("ninja", "-C", "build", "-v")
    assert "-c" in done and "identity.cc" in done and "say.cc.o -c" not in done, done


def test_without_git_the_commit_is_unknown(project):
    assert project.built() == "unknown"


def test_a_copy_inside_a_foreign_clone_is_unknown(project):
    outer = Project(project.folder)
    outer.git("init", "-q")
    outer.commit("foreign")
    inner = project.folder / "inner"
    inner.mkdir()
    assert Project(inner).built() == "unknown"
