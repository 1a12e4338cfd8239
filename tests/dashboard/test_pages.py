"""Every page with every kind of store, and what a person does there."""

import json
import os
import subprocess
import sys

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.components.escape import plain
from engine.config import RunConfig
from engine.jobs import estimates
from engine.overrides import apply_settings
from engine.records.curves import Alert, Probe
from engine.records.runs import RunState
from engine.settings import PROJECT_ROOT
from engine.system import processes
from tests.conftest import NOW, tiny_config

ROW = {
    **{"adversarial": 1.0, "l1": 100.0, "perceptual": 0.0, "total_variation": 0.0},
    **{"lr_g": 2e-4, "lr_d": 2e-4, "beta1": 0.5, "beta2": 0.999},
}
APP = str(PROJECT_ROOT / "dashboard" / "app.py")
PAGES = ("overview", "data", "launch", "live", "run", "gallery", "compare", "colorize")
STORES = ("empty", "queued", "running", "finished", "failed")


def open_page(name, **query):
    app = AppTest.from_file(APP, default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = value if isinstance(value, list) else str(value)
    app.run()
    return app.switch_page(f"app_pages/{name}.py").run()


def texts(app):
    kinds = (app.markdown, app.caption, app.subheader, app.info, app.error, app.warning)
    written = [str(element.value) for kind in kinds for element in kind]
    return "\n".join([*written, *(element.proto.body for element in app.get("html"))])


def given(app, component):
    """What a component of a page was given."""
    found = [it.proto for it in app.get("bidi_component")]
    (proto,) = [it for it in found if it.component_name == f"chromabench.{component}"]
    return json.loads(proto.json)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("state", STORES)
def test_every_page_opens_with_every_kind_of_store(request, name, state):
    request.getfixturevalue(state)

    app = open_page(name)

    assert not app.exception
    assert not app.error
    assert app.title[0].value.lower() == name


@pytest.mark.parametrize("name", ["overview", "live", "run", "gallery", "compare"])
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

    assert plain(sentence) in next(it for it in texts(app).splitlines() if it.startswith(":red"))
    assert app.button(key="launch_start").disabled
    assert empty.read_studies() == []


def order_of_fields(app):
    """Labels of fields and red sentences, from top to bottom."""
    found = []
    for element in app.main:
        if getattr(element, "type", "") == "markdown" and element.value.startswith(":red"):
            found.append(element.value)
        elif getattr(element, "label", ""):
            found.append(element.label)
    return found


@pytest.mark.parametrize(
    ("key", "value", "sentence", "after"),
    [
        ("launch_px_demo", 100, "px must be a multiple of 32, not 100", "Width (channels)"),
        ("launch_batch_demo", 4000, "batch must be at most 1", "Width (channels)"),
        ("launch_epochs_demo", 0, "epochs cannot be", "Width (channels)"),
    ],
)
def test_what_is_wrong_stands_below_its_field(empty, key, value, sentence, after):
    app = open_page("launch")

    app.number_input(key=key).set_value(value).run()

    fields = order_of_fields(app)
    (said,) = [it for it in fields if it.startswith(":red")]
    assert plain(sentence) in said
    assert fields[fields.index(said) - 1] == after
    assert app.button(key="launch_start").disabled


def test_a_configuration_of_ones_own_is_started_with_its_values(empty):
    app = open_page("launch")
    app.session_state["launch_values"] = {"mine": {**ROW, "l1": 12.5, "perceptual": 3.0}}
    app.multiselect(key="launch_configurations").set_value(["standard", "mine"]).run()

    app.button(key="launch_start").click().run()

    mine = empty.read_runs()[1].config.configuration
    assert mine.name == "mine"
    assert str(mine.recipe) == "adversarial + 12.5 l1 + 3 perceptual"
    assert (mine.lr_g, mine.beta2) == (2e-4, 0.999)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("two words", {}, "String should match"),
        ("mine", {"lr_g": 7.0}, "lr_g cannot be '7.0'"),
        ("mine", {"l1": None}, "l1 is empty; give it a number"),
        ("mine", {"l1": 0.0, "adversarial": 0.0}, "terms"),
    ],
)
def test_an_impossible_configuration_is_refused_below_the_table(empty, name, changes, sentence):
    app = open_page("launch")
    app.session_state["launch_values"] = {name: {**ROW, **changes}}
    app.multiselect(key="launch_configurations").set_value([name]).run()

    (said,) = [it for it in order_of_fields(app) if it.startswith(":red")]
    assert plain(f"{name}: ") in said
    assert plain(sentence).lower() in said.lower()
    assert app.button(key="launch_start").disabled


def test_a_run_is_cloned_into_the_form_with_its_values(empty):
    config = apply_settings(tiny_config("ganv2", batch=4), {"l1": "7", "decay": "0.5"})
    empty.add_study("key", "of one", [config, tiny_config("gan")], NOW)

    app = open_page("launch", clone_run=1)

    assert "As run 1 was" in texts(app)
    assert app.multiselect(key="launch_configurations").value == ["ganv2"]
    assert app.session_state["launch_values"]["ganv2"]["l1"] == 7.0
    assert app.number_input(key="launch_batch_smoke").value == 4
    assert "decay=0.5" in app.text_input(key="launch_extra_smoke").value
    app.button(key="launch_start").click().run()
    again = empty.read_runs()[-1].config
    assert again.configuration == config.configuration
    assert again.budget == config.budget


def test_the_time_is_measured_when_that_is_asked_for_and_then_known(empty):
    app = open_page("launch")
    assert "a rough guess" in str(app.table[0].value)

    next(it for it in app.button if it.label == "Measure the time here").click().run()
    assert "Waits until nothing trains here" in texts(app)
    held = empty.claim_job(NOW, "probe")
    for work in {
        estimates.work_of(RunConfig.model_validate(it)) for it in json.loads(held.subject)
    }:
        empty.add_probe(held, Probe(processes.host(), work, 100.0, 750.0, NOW), NOW)
    empty.finish_job(held, RunState.DONE, None, NOW)

    shown = str(open_page("launch").table[0].value)
    assert "measured here" in shown
    assert "about 750 MB a run" in shown


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
    shown = given(open_page("gallery", study=1, epoch=2, pinned=["4", "1"]), "gallery")

    assert shown["epochs"] == [1, 2, 3]
    assert (shown["epoch"], shown["pinned"]) == (2, ["4", "1"])
    assert [it["label"] for it in shown["columns"]] == [
        *("sketch", "target", "standard", "perceptual", "regularized")
    ]
    assert [epoch for epoch, _ in shown["columns"][2]["strips"]] == [1, 2, 3]
    assert len(shown["rows"]) == 8


def test_the_gallery_shows_the_latest_at_or_before_for_runs_that_are_not_as_far(running):
    _, _, standard, perceptual, _ = given(open_page("gallery"), "gallery")["columns"]

    assert [epoch for epoch, _ in standard["strips"]] == [1, 2]
    assert perceptual["strips"] == []


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

    app.session_state["tab"] = tab
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
        "import dashboard.app, dashboard.queries.studies, dashboard.actions, dashboard.server,"
        " dashboard.components.live_chart.live_chart, dashboard.components.gallery.gallery,"
        " dashboard.components.runs.run_cards,"
        " dashboard.components.launch.plan_summary,"
        " dashboard.components.comparison_table, engine.report.charts;"
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


def test_studies_are_searched_and_filtered_by_what_they_are(finished):
    for number, (name, data) in enumerate((("reds", "photos:/a"), ("blues", "photos:/b"))):
        config = tiny_config("gan").model_copy(update={"data": data})
        finished.add_study(f"key-{number}", name, [config], NOW)
    finished.add_study("more", "greens", [tiny_config("ganv3")], NOW)
    finished.edit_study(2, "reds", "look at the hair", ["paper"])

    def listed(**query):
        app = open_page("overview", **query)
        assert not app.exception
        return [it.value for it in app.subheader]

    assert listed() == ["greens", "blues", "reds", "a study"]
    assert listed(search="RED") == ["reds"]
    assert listed(search="hair") == ["reds"]
    assert listed(search="ganv3") == ["greens"]
    assert listed(data="photos:/b") == ["blues"]
    assert listed(tag="paper") == ["reds"]
    assert listed(state="done") == ["a study"]
    assert listed(search="nowhere") == []


def test_the_overview_says_who_leads_and_only_where_somebody_does(finished):
    assert "leads in" not in texts(open_page("overview"))


def test_a_study_is_renamed_tagged_and_given_a_note(finished):
    app = open_page("overview")
    (label,) = [it for it in app.menu_button(key="menu_study_1").options if "Rename" in it]
    app.menu_button(key="menu_study_1").click(label).run()
    app.text_input(key="name_1").set_value("better *name*")
    app.multiselect(key="tags_1").set_value(["paper"])
    app.text_area(key="note_1").set_value("why")

    next(it for it in app.button if it.label == "Save").click().run()

    study = finished.read_study(1)
    assert (study.name, study.tags, study.note) == ("better *name*", ("paper",), "why")
    assert plain("better *name*") in texts(app)


def test_the_run_page_tells_settings_attempts_numbers_and_environment(finished):
    app = open_page("run", run=2)

    assert "perceptual" in texts(app)
    tables = [it.value.to_string() for it in app.dataframe]
    assert any("95 % interval" in it and "15.50 to 16.50" in it for it in tables)
    assert any("weight of perceptual" in it and "10.0" in it for it in tables)
    assert any("torch" in it for it in tables)
    assert "**Attempt 1**: done" in texts(app)


def test_two_runs_are_compared_setting_by_setting(finished):
    app = open_page("run", run=2, **{"with": "run 1: standard, seed 0, study 1"})

    shown = app.table[0].value.to_string()

    assert "weight of perceptual" in shown
    assert "lr_g" not in shown


def test_alerts_are_shown_on_the_curve_and_on_the_card(running):
    running.add_alerts(
        running.read_job(1), [Alert(1, 16, "saturated", "The discriminator won.")], NOW
    )

    app = open_page("live")

    first = given(app, "live_chart")["series"][0]
    assert first["marks"] == [[16, "saturated", "The discriminator won."]]
    assert "Step 16: The discriminator won" in texts(app).replace("\\", "")


def test_a_diverged_run_is_marked_where_it_diverged(failed):
    marks = [it["marks"] for it in given(open_page("live"), "live_chart")["series"]]

    assert marks == [[], [[8, "diverged", "diverged: l1 became infinite at step 3"]], []]


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("running", "22% · a study · Live"),
        ("finished", "done · a study"),
        ("failed", "ended · ![x](http://nowhere/x.png) *loud*"),
    ],
)
def test_the_tab_says_how_far_a_study_is(request, state, title):
    request.getfixturevalue(state)

    assert given(open_page("live"), "live_chart")["title"] == title


def test_the_chart_is_told_all_that_a_link_says(finished):
    query = {"curve": "Discriminator loss", "axis": "epoch", "scale": "log", "by": "configuration"}

    view = given(open_page("live", **query), "live_chart")["view"]

    assert (view["metric"], view["axis"], view["log"]) == ("d_loss", "epoch", True)
    assert view["by"] == "configurations"


def test_test_pictures_come_worst_first_and_in_pages(trained, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    st.cache_resource.clear()

    app = open_page("gallery", pictures="All test pictures")

    shown = given(app, "gallery")
    assert len(shown["rows"]) == 12
    scores = [float(row["captions"]["1"].split()[0]) for row in shown["rows"]]
    others = [float(row["captions"]["2"].split()[0]) for row in shown["rows"]]
    means = [one + other for one, other in zip(scores, others, strict=True)]
    assert means == pytest.approx(sorted(means), abs=0.02)
    assert "32 test pictures" in texts(app)


def test_a_clone_is_filled_again_when_one_comes_back_and_leaves_nothing_behind(empty):
    config = apply_settings(tiny_config("ganv2"), {"l1": "7"})
    empty.add_study("key", "of one", [config], NOW)
    app = open_page("launch", clone=1)
    app.switch_page("app_pages/overview.py").run()

    app.query_params["clone"] = "1"
    app.switch_page("app_pages/launch.py").run()
    assert app.multiselect(key="launch_configurations").value == ["ganv2"]
    assert app.session_state["launch_values"]["ganv2"]["l1"] == 7.0

    app.switch_page("app_pages/overview.py").run()
    del app.query_params["clone"]
    app.switch_page("app_pages/launch.py").run()
    assert app.session_state["launch_values"] == {}


def test_pages_open_when_the_folder_of_a_study_at_work_is_gone(running, tmp_path):
    config = tiny_config().model_copy(update={"data": f"photos:{tmp_path}/gone"})
    running.add_study("gone", "far away", [config], NOW)
    while running.read_run(4).state == RunState.QUEUED:
        job = running.claim_job(NOW)
    running.start_run(job, config, 24, {}, NOW)
    running.set_process(job, processes.identify(os.getpid()), NOW)

    for name in ("overview", "live", "run"):
        assert not open_page(name, study=2, run=4).exception


def test_a_link_with_runs_shows_them_and_another_link_others(finished):
    finished.extend_study(1, [tiny_config(seed=it, epochs=3) for it in (1, 2)], NOW)
    app = open_page("live", study=1, runs="2.3")
    assert [it["id"] for it in given(app, "live_chart")["series"]] == [2, 3]

    app.query_params["runs"] = "1"
    app.run()

    assert [it["id"] for it in given(app, "live_chart")["series"]] == [1]
