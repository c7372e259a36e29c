"""A PyTorch file gives its tensors without PyTorch, and runs nothing."""

import pickle
import zipfile

import numpy as np
import pytest

from liser.errors import InputError
from liser.ingest import state_dict
from liser.ingest.state_dict import read_state_dict

torch = pytest.importorskip("torch")


def saved(tmp_path, value):
    path = tmp_path / "weights.model"
    torch.save(value, path)
    return path


def test_all_tensors_come_out_as_they_went_in(tmp_path):
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    base = torch.arange(24.0).reshape(4, 6)
    theirs = {
        **layer.state_dict(),
        "turned": base.T,
        "part": base[1:3, 2:],
        "half": base.half(),
        "double": base.double(),
        "empty": torch.zeros(0, 3),
    }
    ours = read_state_dict(saved(tmp_path, theirs))
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value.numpy())
        assert ours[name].dtype == value.numpy().dtype and ours[name].shape == value.shape


def test_a_module_s_own_state_dict_with_its_metadata_is_read(tmp_path):
    layer = torch.nn.Linear(3, 2)
    found = read_state_dict(saved(tmp_path, layer.state_dict()))
    np.testing.assert_array_equal(found["weight"], layer.weight.detach().numpy())


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


def test_a_pickle_that_calls_a_function_is_refused_and_runs_nothing(tmp_path):
    path = saved(tmp_path, {"x": Evil(tmp_path / "ran")})
    with pytest.raises(InputError, match="which is no tensor"):
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()


def test_other_content_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds a list"):
        read_state_dict(saved(tmp_path, [torch.zeros(2)]))
    with pytest.raises(InputError, match="holds a dict, not tensors by name"):
        read_state_dict(saved(tmp_path, {"x": 3}))
    archive = tmp_path / "other.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no weights")
    with pytest.raises(InputError, match="no file of PyTorch weights"):
        read_state_dict(archive)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    """A view that claims more values than its storage holds reads no foreign memory."""
    path = saved(tmp_path, {"x": torch.zeros(4)})
    broken = tmp_path / "broken.model"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:8] if "/data/0" in name else content)
    with pytest.raises(InputError, match="no file of PyTorch weights"):
        read_state_dict(broken)


def test_a_large_archive_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = saved(tmp_path, {"x": torch.zeros(1000)})
    monkeypatch.setattr(state_dict, "MOST_BYTES", 3000)
    with pytest.raises(InputError, match="more than 3,000"):
        read_state_dict(path)


def test_a_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "plain.model"
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(InputError, match="no file of PyTorch weights"):
        read_state_dict(path)
