"""Every page with every kind of store, and what a person does there."""

import subprocess
import sys

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.text import plain
from engine.records import RunState
from engine.settings import PROJECT_ROOT
from tests.conftest import NOW, tiny_config

APP = str(PROJECT_ROOT / "dashboard" / "app.py")
PAGES = ("overview", "data", "launch", "live", "gallery", "compare")
STORES = ("empty", "queued", "running", "finished", "failed")


def open_page(name, **query):
    app = AppTest.from_file(APP, default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = str(value)
    app.run()
    return app.switch_page(f"app_pages/{name}.py").run()


def texts(app):
    kinds = (app.markdown, app.caption, app.subheader, app.info, app.error, app.warning)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("state", STORES)
def test_every_page_opens_with_every_kind_of_store(request, name, state):
    request.getfixturevalue(state)

    app = open_page(name)

    assert not app.exception
    assert not app.error
    assert app.title[0].value.lower() == name


@pytest.mark.parametrize("name", ["overview", "live", "gallery", "compare"])
def test_an_empty_store_invites_to_the_demo_study(empty, name):
    app = open_page(name)

    assert "Nothing has been trained yet" in texts(app)
    assert [button.label for button in app.button] == ["Start the demo study"]


def test_the_demo_study_starts_from_the_empty_page_and_shows_live(empty):
    app = open_page("overview")

    app.button[0].click().run()

    runs = empty.read_runs()
    assert [run.configuration for run in runs] == ["standard", "perceptual", "regularized"]
    assert {run.config.budget.name for run in runs} == {"demo"}
    assert not app.exception
    assert app.title[0].value == "Live"


def test_launch_starts_what_the_form_says(empty):
    app = open_page("launch")
    app.selectbox(key="launch_budget").set_value("smoke")
    app.multiselect(key="launch_configurations").set_value(["gan", "ganv2"])
    app.number_input(key="launch_seeds").set_value(2)
    app.text_input(key="launch_name").set_value("mine")
    app.run()

    app.button(key="launch_start").click().run()

    (study,) = empty.read_studies()
    assert study.name == "mine"
    assert [run.config.label for run in empty.read_runs()] == [
        f"{name}, seed {seed}" for name in ("gan", "ganv2") for seed in (0, 1)
    ]
    assert not app.exception
    assert app.title[0].value == "Live"


def test_launch_changes_single_values(empty):
    app = open_page("launch")
    app.number_input(key="launch_epochs_demo").set_value(7)
    app.text_input(key="launch_extra_demo").set_value("l1=50 lr_g=1e-4")
    app.run()

    app.button(key="launch_start").click().run()

    config = empty.read_runs()[0].config
    assert config.budget.epochs == 7
    assert config.configuration.lr_g == 1e-4
    assert str(config.configuration.recipe) == "adversarial + 50 l1"


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [("lr_g=nan", "lr_g cannot be 'nan'"), ("bogus=1", "does not know"), ("l1", "key=value")],
)
def test_launch_refuses_bad_values_beside_the_form(empty, extra, sentence):
    app = open_page("launch")

    app.text_input(key="launch_extra_demo").set_value(extra).run()

    assert plain(sentence) in app.error[0].value
    assert app.button(key="launch_start").disabled
    assert empty.read_studies() == []


def test_launch_says_what_start_will_do_before_it_is_pressed(empty, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    shown = texts(open_page("launch"))

    assert "The perceptual term will use **EfficientNet-Lite0** features." in shown
    assert "No FID: Inception weights not on this machine" in shown


def test_stop_is_pressed_on_a_running_run(running):
    app = open_page("live")

    app.button(key="stop_1").click().run()

    assert running.read_run(1).state == RunState.STOPPING


def test_the_gallery_shows_the_epoch_that_is_chosen(finished):
    app = open_page("gallery")

    app.select_slider(key="gallery_epoch_1").set_value(2).run()

    assert texts(app).count("epoch 2") == 3
    assert "epoch 3" not in texts(app)


def test_the_gallery_shows_the_latest_at_or_before_for_runs_that_are_not_as_far(running):
    app = open_page("gallery")

    assert "**standard**  \nepoch 2" in texts(app)
    assert "**perceptual**  \nnot yet" in texts(app)


def test_compare_shows_values_with_intervals_and_a_reason_where_none_is(finished):
    app = open_page("compare")

    findings, table = (element.proto.body for element in app.get("html"))
    assert "No FID: no weights here." in findings
    assert "<b>16.00</b> <small>± 0.50</small>" in table
    assert 'title="no weights here">—</td>' in table
    assert [tab.label for tab in app.tabs] == [
        *("Metric by metric", "Pictures", "Training", "Stability", "Configurations")
    ]


@pytest.mark.parametrize("tab", ["Pictures", "Training", "Stability", "Configurations"])
@pytest.mark.parametrize("state", ["queued", "running", "finished", "failed"])
def test_every_part_of_compare_opens_with_every_kind_of_study(request, state, tab):
    request.getfixturevalue(state)
    app = open_page("compare")

    app.session_state["compare_tab"] = tab
    app.run()

    assert not app.exception
    assert not app.error


def test_a_name_is_shown_as_text_and_loads_no_picture(failed):
    for name in PAGES:
        shown = texts(open_page(name))
        assert "![x]" not in shown
        assert "*loud*" not in shown.replace("\\*loud\\*", "")


def test_a_failed_run_says_why(failed):
    shown = texts(open_page("live"))

    assert "out of \\*memory\\*" in shown
    assert plain("diverged: l1 became infinite at step 3") in shown


def test_opening_the_dashboard_never_loads_torch():
    program = (
        "import sys, runpy, pathlib;"
        "import dashboard.app, dashboard.reads, dashboard.actions, dashboard.components.live_chart,"
        " dashboard.components.strips, dashboard.components.run_cards, dashboard.components.plan,"
        " dashboard.components.comparison_table, engine.charts;"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=PROJECT_ROOT, capture_output=True
    )

    assert done.returncode == 0, done.stderr


def test_a_link_opens_the_study_that_it_names(finished):
    finished.add_study("other", "newer", [tiny_config("gan")], NOW)

    assert "perceptual" in texts(open_page("live", study=1))
    assert "perceptual" not in texts(open_page("live"))
    assert "There is no such study" in texts(open_page("live", study=99))
