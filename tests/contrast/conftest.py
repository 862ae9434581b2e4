import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny matrices gain nothing from threads."""
    torch.set_num_threads(1)
