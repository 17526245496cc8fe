"""What must hold of the project as a whole: which way imports point, sizes, pins, what no file may name."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "megatron_lrps"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

HEAVY = {"torch", "megatron", "numpy"}
PURE = {"schedule", "plan"}
BASE = {"errors", "processes", "version", "wording"}
FLOORS = (
    BASE,
    {"schedule"},
    {"plan"},
    {"storage"},
    {"data"},
    {"campaign"},
    {"training"},
    {"bridge"},
    {"monitor"},
    {"convert"},
    {"evaluate"},
    {"launch"},
    {"cli"},
)
"""A part imports what lies on a floor below its own, never what lies above."""
MAY_CHANGE_TRAINING = "training/megatron/patching.py"
MAY_IMPORT_TRAINING = "training/megatron/"


IMPORTING_CALL = re.compile(r"\b(import_module|__import__)$")
LOOKED_UP = re.compile(r"import_module\('megatron\.training\b|\.owner\b")
CHANGING_CALL = re.compile(r"\b(setattr|delattr|patch|patch\.object)$")


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _part(module: str) -> str:
    """`schedule` of `megatron_lrps.schedule.shapes`; empty for the package itself."""
    return [*module.split("."), ""][1]


def _floor(part: str) -> int:
    """0 for what all may import; the package's own entries lie on top."""
    return next((floor for floor, parts in enumerate(FLOORS) if part in parts), len(FLOORS))


def _imports(tree: ast.AST, file: Path) -> Iterator[tuple[int, str]]:
    """Every dotted name a file imports, anywhere in it, with its line. `from a import b` gives `a.b`."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and IMPORTING_CALL.search(ast.unparse(node.func)):
            yield from ((node.lineno, str(arg.value)) for arg in node.args if isinstance(arg, ast.Constant))


def _wrong_import(part: str, target: str) -> str:
    """Why a file of this part may not import the target, or nothing."""
    top, imported = target.split(".")[0], _part(target)
    if part in PURE and top in HEAVY:
        return f"{part} is pure and may not import {top}"
    if top != PACKAGE:
        return ""
    if part in PURE and imported and imported not in PURE | BASE:
        return f"{part} is pure and may not import {imported}"
    if part != "cli" and imported == "cli":
        return "nothing imports cli"
    if part and imported and _floor(imported) > _floor(part):
        return f"{part} lies below {imported} and may not import it"
    return ""


def _changes_of_training(tree: ast.AST) -> list[str]:
    """What sets, replaces or deletes an attribute of something imported from megatron.training."""
    names = {"megatron"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if f"{module}.{alias.name}.".lstrip(".").startswith("megatron.training."):
                    names.add(alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.Assign) and LOOKED_UP.search(ast.unparse(node.value)):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    found = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = [t for t in node.targets if isinstance(t, ast.Attribute)]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            targets = [node.target]
        elif isinstance(node, ast.Call) and node.args and CHANGING_CALL.search(ast.unparse(node.func)):
            targets = [node.args[0]]
        found += [f"line {t.lineno}: {ast.unparse(t)}" for t in targets if re.split(r"\W", ast.unparse(t))[0] in names]
    return found


def test_imports_point_one_way() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {target}: {why}"
        for file in FILES
        for line, target in _imports(ast.parse(file.read_text()), file)
        if (why := _wrong_import(_part(_module(file)), target))
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_have_no_circles() -> None:
    """Also not by imports inside of functions: what a file needs, it does not serve."""
    modules = {_module(file): file for file in FILES}
    needs = {
        name: {near for _, target in _imports(ast.parse(file.read_text()), file) if (near := _nearest(target, modules))}
        for name, file in modules.items()
    }
    left = {name: found - {name} for name, found in needs.items()}
    while free := [name for name, found in left.items() if not found & left.keys()]:
        left = {name: found for name, found in left.items() if name not in free}
    assert sorted(left) == []  # what is left lies on a circle, or needs what does


def _nearest(target: str, modules: Container[str]) -> str:
    """The module that an imported name is, or is of; nothing for other packages'."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


@pytest.mark.parametrize(
    ("source", "where", "wrong"),
    [
        ("from megatron_lrps.cli import app", "launch/slurm.py", True),
        ("from ..cli import app", "launch/slurm.py", True),
        ("from .. import cli", "launch/slurm.py", True),
        ("def f():\n    import numpy as np", "schedule/shapes.py", True),
        ("import importlib\nimportlib.import_module('torch')", "plan/model.py", True),
        ("from megatron_lrps.monitor import status", "training/megatron/hooks.py", True),
        ("from megatron_lrps.training import session", "campaign/fork.py", True),
        ("from megatron_lrps.campaign import record", "data/prepare/job.py", True),
        ("from megatron_lrps.launch import local", "cli/run.py", False),
        ("from ..errors import PlanError\nfrom .shapes import cosine", "schedule/build.py", False),
        ("from megatron_lrps.campaign import record\nimport torch", "training/megatron/hooks.py", False),
    ],
)
def test_a_wrong_import_would_be_found(source: str, where: str, wrong: bool) -> None:
    file = ROOT / PACKAGE / where
    reasons = [_wrong_import(_part(_module(file)), target) for _, target in _imports(ast.parse(source), file)]
    assert any(reasons) == wrong


def _loaded_by_importing(*modules: str) -> set[str]:
    code = f"import {', '.join(modules)}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_pure_parts_load_neither_torch_nor_megatron_nor_numpy() -> None:
    pure = [_module(file) for file in FILES if _part(_module(file)) in PURE]
    assert {_part(module) for module in pure} == PURE
    assert not _loaded_by_importing(*pure) & HEAVY


def test_the_command_line_starts_without_torch() -> None:
    module = PYPROJECT["project"]["scripts"]["lrps"].split(":")[0]
    assert not _loaded_by_importing(module) & HEAVY


def test_one_module_changes_names_of_megatron_training() -> None:
    importers = {}
    changers = {}
    for file in FILES:
        tree = ast.parse(file.read_text())
        name = file.relative_to(ROOT / PACKAGE).as_posix()
        upstream = "megatron." if _part(_module(file)) == "training" else "megatron.training."
        lines = [n for n, target in _imports(tree, file) if f"{target}.".startswith(upstream)]
        if lines and not name.startswith(MAY_IMPORT_TRAINING):
            importers[name] = lines
        if name != MAY_CHANGE_TRAINING and (changes := _changes_of_training(tree)):
            changers[name] = changes
    assert not importers, f"only {MAY_IMPORT_TRAINING} may import megatron.training, or any of Megatron in training/"
    assert not changers, f"only {MAY_CHANGE_TRAINING} may change names of megatron.training"


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("import megatron.training\nmegatron.training.training.train_step = f", 1),
        ("from megatron.training import training as t\nt.train_step = f\ndel t.evaluate", 2),
        ("from megatron.training import checkpointing\nsetattr(checkpointing, 'save_checkpoint', f)", 1),
        ("factory = importlib.import_module('megatron.training.argument_utils').Factory\nfactory.read = f", 1),
        ("checkpointing = files.owner\nsetattr(checkpointing, files.key, f)", 1),
        ("from megatron.training import get_args\nargs = get_args()\nargs.lr = 1", 0),
        ("from megatron.training import get_args\nself.args = get_args()", 0),
    ],
)
def test_a_change_of_megatron_training_would_be_found(source: str, changes: int) -> None:
    assert len(_changes_of_training(ast.parse(source))) == changes


def test_files_stay_short() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in FILES}
    assert not {name: length for name, length in lengths.items() if length > 320}


def test_no_two_files_share_a_name() -> None:
    """So that a file's name says where it is; a command's file has the command's name, whatever else is called so."""
    folders: dict[str, list[str]] = {}
    for file in FILES:
        if not file.name.startswith("__") and file.parent.name != "cli":
            folders.setdefault(file.name, []).append(file.parent.name)
    assert not {name: found for name, found in folders.items() if len(found) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    """One word, one thing."""
    found: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(_module(file))
    assert not {name: modules for name, modules in found.items() if len(modules) > 1}


def test_contributing_says_where_things_are() -> None:
    """Twenty questions of a newcomer, with one file each, and every part of the package with what it holds."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    answers = re.findall(r"^\| .*\? \| `(\S+)` \|$", text, re.MULTILINE)
    assert len(answers) == 20
    assert not [name for name in answers if not (ROOT / name).is_file()]
    (tree,) = re.findall(r"^megatron_lrps/\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    named = re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)
    parts = [part for floor in FLOORS for part in sorted(floor) if (ROOT / PACKAGE / part).is_dir()]
    assert named == parts


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()  # type: ignore[index]


def test_constraints_are_exact_pins_and_agree_with_pyproject() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert not [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)]
    assert "://" not in "".join(lines)
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["megatron"], *extras["dev"]]
    assert {_name(line) for line in wanted} <= {_name(line) for line in pins}
    assert [r for r in extras["megatron"] if _name(r) == "megatron-core"] == [
        line for line in pins if _name(line) == "megatron-core"
    ]


def test_installing_the_package_never_replaces_a_containers_torch_or_megatron() -> None:
    project = PYPROJECT["project"]
    assert "dependencies" not in project.get("dynamic", [])
    built_together = {"torch", "megatron-core", "transformer-engine", "apex", "flash-attn"}
    assert not {_name(line) for line in project["dependencies"]} & built_together


def test_a_wheel_holds_every_file_of_the_package() -> None:
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, globs in PYPROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in globs
    ]
    held = {file for pattern in patterns for file in ROOT.glob(pattern)}
    others = {file for file in (ROOT / PACKAGE).rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert others
    assert others <= held, f"not in a wheel: {others - held}"


# Written in pieces, or this file would be the first to break the rule.
MACHINE_PATH = r"(?<![\w.~$}>)/-])/(?:root|work|home/[\w-]+|Users/[\w-]+)(?![\w-])"
REGISTRY = r"pypi\." + r"org|files\.python" + "hosted"
UNMERGED = r"^(?:<{7}|>{7}) "
FORBIDDEN = re.compile(f"{MACHINE_PATH}|{REGISTRY}|{UNMERGED}")


def test_no_file_names_a_machine_or_a_registry_or_is_half_merged() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the file list of a git checkout: {error}")
    found = []
    for file in (ROOT / name for name in listed.split("\0") if name):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError):  # a binary, or deleted but not yet committed
            continue
        found += [
            f"{file.relative_to(ROOT)}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if FORBIDDEN.search(line)
        ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("save: /" + "home/ann/runs", True),
        ("cd /" + "work", True),
        ('"/' + "root/.cache", True),
        ("~/" + "work/runs and data/" + "work/x", False),
        ("image /" + "workspace/megatron", False),
        ("$HOME/runs", False),
        ("<" * 7 + " HEAD", True),
        ("a " + "<" * 7 + " b", False),
    ],
)
def test_a_machines_path_would_be_found(text: str, forbidden: bool) -> None:
    assert bool(FORBIDDEN.search(text)) == forbidden
