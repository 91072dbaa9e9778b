"""What Gradio is imported without, in a process of its own."""

import subprocess
import sys

import pytest

from mlx_deepseek_app.widgets.gradio_import import absent, late

START = """
import sys
from mlx_deepseek_app.widgets.gradio_import import import_gradio
import_gradio()
import mlx_deepseek_app.page, mlx_deepseek_app.server.site
print("pandas" in sys.modules, "pandas.core" in sys.modules, "mcp" in sys.modules)
import pandas
print(pandas.DataFrame({"n": [1, 2]}).n.sum())
from gradio.caching import pd
print(pd is pandas)
"""


def test_pandas_and_mcp_are_not_read_at_the_start_and_whole_when_asked_for():
    pytest.importorskip("gradio")
    told = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == ["True", "False", "False", "3", "True"]


EVENTS = """
import sys
from mlx_deepseek_app.command import serve
from tests.app import scripted
served = serve(lambda source, **_: scripted.load(source), "scripted")
queue = served._page._queue
queue.events_recorded = 1000
summary = queue.compute_analytics_summary([{"function": "f", "status": "success"}])
print("pandas.core" in sys.modules, summary)
served.close()
"""


def test_no_event_is_summed_up_by_pandas():
    told = subprocess.run(
        [sys.executable, "-c", EVENTS], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == "False {'functions': {}}"


def test_a_module_is_absent_only_within(tmp_path, monkeypatch):
    (tmp_path / "some_module.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with absent("some_module"), pytest.raises(ImportError):
        import some_module  # type: ignore[import-not-found]
    import some_module  # type: ignore[import-not-found]

    assert some_module.VALUE == 3
    with absent("some_module"):  # it is there: what uses it goes on
        import some_module  # type: ignore[import-not-found]
    del sys.modules["some_module"]


def test_a_late_module_is_read_at_its_first_use(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text("import sys\nsys.seen = True\nVALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with late("late_module"):
        import late_module  # type: ignore[import-not-found]
    assert not hasattr(sys, "seen")
    assert late_module.VALUE == 3
    assert sys.seen  # type: ignore[attr-defined]
    del sys.seen, sys.modules["late_module"]  # type: ignore[attr-defined]
