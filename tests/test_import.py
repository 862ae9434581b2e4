"""What is imported when; in fresh interpreters."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

HEAVY = {
    *("torchvision", "timm", "PIL", "sklearn", "matplotlib", "pacmap", "pyarrow", "tensorboard", "scipy"),
    *("pydantic", "typer", "pandas", "numba"),
}


def modules_after(code: str) -> set[str]:
    """All modules after some code in an interpreter of its own."""
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def torch_alone() -> set[str]:
    return modules_after("import torch, numpy")


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_list_of_heavy_packages_would_be_noticed():
    assert "PIL" in tops(modules_after("import PIL.Image")) & HEAVY


def test_importing_nearfar_imports_nothing_else(torch_alone: set[str]):
    new = modules_after("import torch, numpy\nimport nearfar") - torch_alone
    assert not tops(new) & HEAVY
    assert new == {"nearfar", "nearfar.version"}


def test_nearfar_alone_does_not_even_import_torch():
    assert not tops(modules_after("import nearfar")) & (HEAVY | {"torch", "numpy"})


def test_objectives_need_torch_and_nothing_else(torch_alone: set[str]):
    new = modules_after("import torch, numpy\nimport nearfar as nf\nnf.objectives.NTXent, nf.contrast") - torch_alone
    assert tops(new) == {"nearfar"}
    assert {name.split(".")[1] for name in new if "." in name} <= {"version", "errors", "contrast", "objectives"}


def test_every_room_opens_without_the_packages_of_extras(torch_alone: set[str]):
    new = modules_after("import torch, numpy\nimport nearfar\n[getattr(nearfar, name) for name in nearfar.__all__]")
    # pydantic checks settings; typer is the command's; the others wait for their first use
    assert not tops(new - torch_alone) & (HEAVY - {"pydantic"})


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]):
    code = f"""
sys.argv = ["nearfar", *{arguments}]
from nearfar.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    # typer brings pydantic along to read options
    assert not tops(modules_after(code)) & ((HEAVY | {"torch", "numpy"}) - {"typer", "pydantic"})


def test_every_public_name_is_there():
    import nearfar

    for name in nearfar.__all__:
        assert getattr(nearfar, name) is not None
    assert dir(nearfar) == sorted(nearfar.__all__)
    with pytest.raises(AttributeError, match="no attribute 'objectivs'"):
        nearfar.objectivs  # noqa: B018


def test_the_network_is_out_of_reach_and_this_machine_is_not():
    with pytest.raises(pytest.fail.Exception, match="reaches for the network"), socket.socket() as far:
        far.connect(("192.0.2.1", 80))
    with pytest.raises(pytest.fail.Exception, match="looks up a name"):
        socket.create_connection(("example.org", 80), timeout=1)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
