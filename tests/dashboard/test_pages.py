"""Every page with every kind of store, and what users do there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import streamlit as st
import yaml

from dashboard.components.escape import escape_markdown
from dashboard.components.gallery import gallery
from dashboard.components.launch import configurations_form
from dashboard.queries import launch
from engine.config import Configuration, RunConfig
from engine.jobs import estimates
from engine.jobs.estimates import MeasuredSpeed
from engine.overrides import TERM_KEYS, apply_settings
from engine.presets import CONFIGURATIONS, default_configurations
from engine.records.curves import Alert, MetricPoint, Probe
from engine.records.runs import RunState
from engine.settings import PROJECT_ROOT
from engine.store import WorkerSlot, database_path
from engine.system import processes
from engine.system.processes import ProcessId
from tests.support.pages import PAGES, open_page, texts
from tests.support.runs import NOW, tiny_config

ROW = configurations_form.as_row(CONFIGURATIONS["standard"])
STORES = ("empty", "queued", "running", "finished", "failed")


def component_data(app, component):
    """The data that a page has passed to a component."""
    protos = [element.proto for element in app.get("bidi_component")]
    (proto,) = [each for each in protos if each.component_name == f"chromabench.{component}"]
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
def test_an_empty_store_offers_the_demo_study(empty, name):
    app = open_page(name)

    assert "No studies yet" in texts(app)
    assert [button.label for button in app.button] == ["Start demo study"]


def test_the_demo_study_starts_from_an_empty_page_and_opens_live(empty):
    app = open_page("overview")

    app.button[0].click().run()

    runs = empty.runs.read_all()
    assert tuple(run.configuration for run in runs) == default_configurations("sketch")
    assert {run.config.budget.name for run in runs} == {"demo"}
    assert not app.exception
    assert app.title[0].value == "Live"


def test_launch_starts_the_study_of_the_form(empty):
    app = open_page("launch")
    app.selectbox(key="launch_budget").set_value("smoke")
    app.multiselect(key="launch_configurations").set_value(["gan", "ganv2"])
    app.number_input(key="launch_seeds").set_value(2)
    app.text_input(key="launch_name").set_value("mine")
    app.run()

    app.button(key="launch_start").click().run()

    (study,) = empty.studies.read_all()
    assert study.name == "mine"
    assert [run.config.label for run in empty.runs.read_all()] == [
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

    config = empty.runs.read_all()[0].config
    assert config.budget.epochs == 7
    assert config.configuration.lr_g == 1e-4
    assert str(config.configuration.recipe) == "adversarial + 50 l1"


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [("lr_g=nan", "lr_g cannot be 'nan'"), ("bogus=1", "no setting"), ("l1", "key=value")],
)
def test_launch_refuses_invalid_settings(empty, extra, sentence):
    app = open_page("launch")

    app.text_input(key="launch_extra_demo").set_value(extra).run()

    (message,) = [line for line in texts(app).splitlines() if line.startswith(":red")]
    assert escape_markdown(sentence) in message
    assert app.button(key="launch_start").disabled
    assert empty.studies.read_all() == []


def order_of_fields(app):
    """Labels of fields and error messages, from top to bottom."""
    fields = []
    for element in app.main:
        if getattr(element, "type", "") == "markdown" and element.value.startswith(":red"):
            fields.append(element.value)
        elif getattr(element, "label", ""):
            fields.append(element.label)
    return fields


@pytest.mark.parametrize(
    ("key", "value", "sentence", "after"),
    [
        ("launch_px_demo", 100, "px must be a multiple of 32, not 100", "Base channels"),
        ("launch_batch_demo", 4000, "batch must be at most 1", "Base channels"),
        ("launch_epochs_demo", 0, "epochs cannot be", "Base channels"),
    ],
)
def test_an_error_is_shown_below_its_field(empty, key, value, sentence, after):
    app = open_page("launch")

    app.number_input(key=key).set_value(value).run()

    fields = order_of_fields(app)
    (message,) = [field for field in fields if field.startswith(":red")]
    assert escape_markdown(sentence) in message
    assert fields[fields.index(message) - 1] == after
    assert app.button(key="launch_start").disabled


def test_a_new_configuration_is_started_with_its_values(empty):
    app = open_page("launch")
    app.session_state["launch_values"] = {"mine": {**ROW, "l1": 12.5, "perceptual": 3.0}}
    app.multiselect(key="launch_configurations").set_value(["standard", "mine"]).run()

    app.button(key="launch_start").click().run()

    mine = empty.runs.read_all()[1].config.configuration
    assert mine.name == "mine"
    assert str(mine.recipe) == "adversarial + 12.5 l1 + 3 perceptual"
    assert (mine.lr_g, mine.beta2) == (2e-4, 0.999)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("two words", {}, "String should match"),
        ("mine", {"lr_g": 7.0}, "lr_g cannot be '7.0'"),
        ("mine", {"l1": None}, "l1 is empty; give it a value"),
        ("mine", {"weight_decay": 0.02}, "weight_decay=0.02 needs optimizer=adamw"),
        ("mine", {"l1": 0.0, "adversarial": 0.0}, "terms"),
        ("mine", {"regions": True}, "regions=true needs output=palette"),
        ("mine", {"output": "palette", "decoding": "best"}, "decoding must be one of"),
    ],
)
def test_an_invalid_configuration_is_refused_below_the_table(empty, name, changes, sentence):
    app = open_page("launch")
    app.session_state["launch_values"] = {name: {**ROW, **changes}}
    app.multiselect(key="launch_configurations").set_value([name]).run()

    (message,) = [field for field in order_of_fields(app) if field.startswith(":red")]
    assert escape_markdown(f"{name}: ") in message
    assert escape_markdown(sentence).lower() in message.lower()
    assert app.button(key="launch_start").disabled


def test_every_setting_of_a_configuration_is_in_a_table():
    fields = [field for field in Configuration.model_fields if field not in ("name", "recipe")]
    assert sorted(configurations_form.KEYS) == sorted([*TERM_KEYS, *fields])
    for table in configurations_form.TABLES:
        for key, column in table.columns.items():
            assert column["help"], key


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_can_be_rebuilt_from_its_row(name):
    row = configurations_form.as_row(CONFIGURATIONS[name])

    assert configurations_form.build_configuration(name, row) == CONFIGURATIONS[name]


def test_the_table_of_optimisers_shows_and_keeps_the_values_of_a_cloned_study(empty):
    changes = {"optimizer": "adamw", "weight_decay": "0.02", "schedule": "cosine"}
    config = tiny_config("gan", warmup_steps="50", **changes)
    empty.studies.add("key", "of one", [config], NOW)

    app = open_page("launch", clone_run=1)

    (table,) = [each.value for each in app.dataframe if "optimizer" in each.value.columns]
    assert list(table.loc["gan"]) == ["adamw", 0.02, "cosine", 50, 0.02]
    app.button(key="launch_start").click().run()
    assert empty.runs.read_all()[-1].config.configuration == config.configuration


def test_the_table_of_outputs_shows_and_keeps_the_values_of_a_cloned_study(empty):
    config = tiny_config("vivid", n_colours="16", regions="false")
    empty.studies.add("key", "of one", [config], NOW)

    app = open_page("launch", clone_run=1)

    (table,) = [each.value for each in app.dataframe if "decoding" in each.value.columns]
    features, decoding = "efficientnet_lite0", config.configuration.decoding
    assert list(table.loc["vivid"]) == ["palette", 16, False, features, decoding]
    app.button(key="launch_start").click().run()
    assert empty.runs.read_all()[-1].config.configuration == config.configuration


def test_the_summary_says_how_each_configuration_makes_a_picture(empty):
    app = open_page("launch")

    vivid = CONFIGURATIONS["vivid"]
    assert (
        f"**vivid**: {vivid.recipe}; output palette; {vivid.n_colours} colours; regions; "
        f"EfficientNet-Lite0 features of the source; decoding {vivid.decoding}; no discriminator"
    ) in texts(app)
    assert "**standard**: adversarial + 100 l1\n" in texts(app)


def test_a_fill_is_offered_for_line_art(empty):
    app = open_page("launch")

    app.selectbox(key="launch_output").select("line_fill").run()
    app.multiselect(key="launch_configurations").set_value(["standard"]).run()
    app.button(key="launch_start").click().run()

    assert empty.runs.read_all()[-1].config.budget.output == "line_fill"


def test_a_run_is_cloned_into_the_form_with_its_values(empty):
    config = apply_settings(tiny_config("ganv2", batch=4), {"l1": "7", "decay": "0.5"})
    empty.studies.add("key", "of one", [config, tiny_config("gan")], NOW)

    app = open_page("launch", clone_run=1)

    assert "Copied from run 1" in texts(app)
    assert app.multiselect(key="launch_configurations").value == ["ganv2"]
    assert app.session_state["launch_values"]["ganv2"]["l1"] == 7.0
    assert app.number_input(key="launch_batch_smoke").value == 4
    assert "decay=0.5" in app.text_input(key="launch_extra_smoke").value
    app.button(key="launch_start").click().run()
    clone = empty.runs.read_all()[-1].config
    assert clone.configuration == config.configuration
    assert clone.budget == config.budget


def test_a_measured_speed_replaces_the_rough_estimate(empty):
    app = open_page("launch")
    assert "rough estimate" in str(app.table[0].value)

    next(button for button in app.button if button.label == "Measure speed").click().run()
    assert "Waiting for running jobs to finish" in texts(app)
    job = empty.jobs.claim(NOW, "probe")
    configs = [RunConfig.model_validate(values) for values in json.loads(job.subject)]
    for workload in {estimates.workload_key(config) for config in configs}:
        probe = Probe(processes.host_id(), workload, 100.0, 750.0, NOW)
        empty.machines.add_probe(job, probe, NOW)
    empty.jobs.finish(job, RunState.DONE, None, NOW)

    summary = str(open_page("launch").table[0].value)
    assert "(measured)" in summary
    assert "about 750 MB per run" in summary


@pytest.fixture
def supervisor_host(empty, monkeypatch):
    """The supervisor's host name in compose.yaml; the app has the settings of the dashboard."""
    services = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]
    value = services["dashboard"]["environment"]["CHROMABENCH_SUPERVISOR"]
    monkeypatch.setenv("CHROMABENCH_SUPERVISOR", value)
    return services["supervisor"]["hostname"]


def test_the_speed_measured_by_the_supervisor_of_compose_replaces_the_rough_estimate(
    empty, supervisor_host
):
    app = open_page("launch")
    next(button for button in app.button if button.label == "Measure speed").click().run()
    job = empty.jobs.claim(NOW, "probe", WorkerSlot(supervisor_host, "0"))
    configs = [RunConfig.model_validate(values) for values in json.loads(job.subject)]
    for workload in {estimates.workload_key(config) for config in configs}:
        probe = Probe(supervisor_host, workload, 100.0, 750.0, NOW)
        empty.machines.add_probe(job, probe, NOW)
    empty.jobs.finish(job, RunState.DONE, None, NOW)

    assert "(measured)" in str(open_page("launch").table[0].value)


def test_the_speed_of_runs_in_the_supervisor_of_compose_is_a_measured_speed(empty, supervisor_host):
    empty.studies.add("key", "a study", [tiny_config()], NOW)
    job = empty.jobs.claim(NOW, "train", WorkerSlot(supervisor_host, "0"))
    empty.runs.start(job, tiny_config(), 24, {"host": supervisor_host}, NOW)
    point = MetricPoint(job.run_id, 8, 1, "images_per_second", 140.0)
    empty.curves.add_points(job, 1, 8, [point], NOW)

    speeds = launch.measured_speeds()

    assert speeds == {estimates.workload_key(tiny_config()): MeasuredSpeed(140.0, None)}


def test_launch_summarizes_the_study_before_the_start(empty, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    shown = texts(open_page("launch"))

    assert "The perceptual term uses **EfficientNet-Lite0** features." in shown
    assert "Without its weights, the comparison has no FID." in shown


def test_a_running_run_can_be_stopped(running):
    app = open_page("live")

    app.button(key="stop_1").click().run()

    assert running.runs.read(1).state == RunState.STOPPING


def test_the_gallery_shows_the_epoch_and_pins_of_the_url(finished):
    app = open_page("gallery", study=1, epoch=2, pinned=["4", "1"])

    data = component_data(app, "gallery")
    assert data["epochs"] == [1, 2, 3]
    assert (data["epoch"], data["pinned"]) == (2, ["4", "1"])
    assert [column["label"] for column in data["columns"]] == [
        *("sketch", "target", "standard", "perceptual", "regularized")
    ]
    assert [epoch for epoch, _ in data["columns"][2]["strips"]] == [1, 2, 3]
    assert len(data["rows"]) == 8


def test_the_gallery_lists_only_epochs_that_a_run_has_reached(running):
    _, _, standard, perceptual, _ = component_data(open_page("gallery"), "gallery")["columns"]

    assert [epoch for epoch, _ in standard["strips"]] == [1, 2]
    assert perceptual["strips"] == []


def test_compare_shows_values_with_intervals_and_reasons_for_missing_values(finished):
    app = open_page("compare")

    findings, table = (element.proto.body for element in app.get("html"))
    assert "No FID: no weights here." in findings
    assert "<b>16.00</b> <small>± 0.50</small>" in table
    assert 'title="no weights here">—</td>' in table
    assert [tab.label for tab in app.tabs] == [
        *("Metrics", "Pictures", "Training", "Stability", "Configurations")
    ]


@pytest.mark.parametrize("tab", ["Pictures", "Training", "Stability", "Configurations"])
@pytest.mark.parametrize("state", ["queued", "running", "finished", "failed"])
def test_every_tab_of_compare_opens_with_every_kind_of_study(request, state, tab):
    request.getfixturevalue(state)
    app = open_page("compare")

    app.session_state["tab"] = tab
    app.run()

    assert not app.exception
    assert not app.error


def test_a_study_name_with_markup_is_shown_as_text(failed):
    for name in PAGES:
        shown = texts(open_page(name))
        assert "![x]" not in shown
        assert "*loud*" not in shown.replace("\\*loud\\*", "")


HOSTILE = "<script>alert(1)</script> \"'![x](//nowhere) *loud*"


def test_names_notes_tags_and_reasons_with_markup_are_shown_as_text(failed):
    failed.studies.annotate(1, HOSTILE, HOSTILE, [HOSTILE])
    for run_id in (1, 2, 3):
        failed.runs.annotate(run_id, HOSTILE, [HOSTILE])

    for name in PAGES:
        shown = texts(open_page(name))
        assert "<script" not in shown.replace("\\<script", ""), name
        assert "![x]" not in shown, name
        assert "*loud*" not in shown.replace("\\*loud\\*", ""), name
        if name in ("overview", "run"):
            assert escape_markdown(HOSTILE) in shown, name


def test_compare_says_that_no_run_is_done_if_all_runs_failed(failed):
    shown = texts(open_page("compare"))

    assert "No run is done: 1 failed, 1 crashed, 1 diverged." in shown
    assert "as runs end" not in shown


def strip_addresses(app):
    columns = component_data(app, "gallery")["columns"]
    return [address for column in columns for _, address in column["strips"]]


@pytest.mark.parametrize("pictures", ["Samples by epoch", "All test pictures"])
def test_pictures_have_new_addresses_after_the_restore_of_another_database(
    trained_copy, tiny_settings, monkeypatch, pictures
):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    st.cache_resource.clear()
    before = strip_addresses(open_page("gallery", pictures=pictures))
    unchanged = strip_addresses(open_page("gallery", pictures=pictures))
    path = database_path(tiny_settings.database_url)
    path.rename(path.with_name("old.db"))
    trained_copy.snapshot(path)

    after = strip_addresses(open_page("gallery", pictures=pictures))

    assert before == unchanged
    assert len(after) == len(before)
    assert set(before).isdisjoint(after)


def test_a_run_that_was_created_at_another_time_has_other_picture_addresses(finished):
    study, run = finished.studies.read(1), finished.runs.read(1)
    samples = finished.runs.read_samples([1])
    other = replace(run, created_at=NOW + timedelta(days=1))

    contents = [gallery.samples_content(study, [each], samples, 8) for each in (run, other)]

    first, second = [
        {address for column in content.columns for _, address in column["strips"]}
        for content in contents
    ]
    assert first.isdisjoint(second)


def test_a_failed_run_shows_its_reason(failed):
    shown = texts(open_page("live"))

    assert "out of \\*memory\\*" in shown
    assert escape_markdown("diverged: l1 became infinite at step 3") in shown


def test_opening_the_dashboard_never_loads_torch(app_settings):
    program = (
        "import sys, runpy, pathlib;"
        "import dashboard.app, dashboard.queries.studies, dashboard.actions,"
        " dashboard.components.live_chart.live_chart, dashboard.components.gallery.gallery,"
        " dashboard.components.runs.run_cards,"
        " dashboard.components.launch.plan_summary,"
        " dashboard.components.comparison_sections, engine.report.charts;"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )

    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=PROJECT_ROOT, capture_output=True
    )

    assert completed.returncode == 0, completed.stderr


def test_a_link_opens_the_study_in_its_url(finished):
    finished.studies.add("other", "newer", [tiny_config("gan")], NOW)

    assert "perceptual" in texts(open_page("live", study=1))
    assert "perceptual" not in texts(open_page("live"))
    assert "This study does not exist" in texts(open_page("live", study=99))


def test_studies_can_be_searched_and_filtered(finished):
    for number, (name, data) in enumerate((("reds", "photos:/a"), ("blues", "photos:/b"))):
        config = tiny_config("gan").model_copy(update={"data": data})
        finished.studies.add(f"key-{number}", name, [config], NOW)
    finished.studies.add("more", "greens", [tiny_config("ganv3")], NOW)
    finished.studies.annotate(2, "reds", "look at the hair", ["paper"])

    def listed(**query):
        app = open_page("overview", **query)
        assert not app.exception
        return [subheader.value for subheader in app.subheader]

    assert listed() == ["greens", "blues", "reds", "a study"]
    assert listed(search="RED") == ["reds"]
    assert listed(search="hair") == ["reds"]
    assert listed(search="ganv3") == ["greens"]
    assert listed(data="photos:/b") == ["blues"]
    assert listed(tag="paper") == ["reds"]
    assert listed(state="done") == ["a study"]
    assert listed(search="nowhere") == []


def test_the_overview_names_no_leader_without_a_significant_difference(finished):
    assert "leads in" not in texts(open_page("overview"))


def test_name_tags_and_note_of_a_study_can_be_edited(finished):
    app = open_page("overview")
    menu = app.menu_button(key="menu_study_1")
    (label,) = [option for option in menu.options if "Edit name" in option]
    menu.click(label).run()
    app.text_input(key="name_1").set_value("better *name*")
    app.multiselect(key="tags_1").set_value(["paper"])
    app.text_area(key="note_1").set_value("why")

    next(button for button in app.button if button.label == "Save").click().run()

    study = finished.studies.read(1)
    assert (study.name, study.tags, study.note) == ("better *name*", ("paper",), "why")
    assert escape_markdown("better *name*") in texts(app)


def test_the_run_page_shows_settings_attempts_metrics_and_environment(finished):
    app = open_page("run", run=2)

    assert "perceptual" in texts(app)
    tables = [table.value.to_string() for table in app.dataframe]
    assert any("95 % interval" in table and "15.50 to 16.50" in table for table in tables)
    assert any("weight of perceptual" in table and "10.0" in table for table in tables)
    assert any("torch" in table for table in tables)
    assert "**Attempt 1**: done" in texts(app)


def test_the_run_page_shows_the_log_or_only_its_warnings(finished, app_settings):
    head = "2026-01-02T03:04:05.678Z"
    lines = [f"{head} INFO    run 1: training", f"{head} ERROR   run 1: failed", "Fatal error"]
    app_settings.run_dir(1).mkdir(parents=True, exist_ok=True)
    (app_settings.run_dir(1) / "run.log").write_text("\n".join(lines))
    app = open_page("run", run=1)

    everything = app.code[0].value
    app.selectbox("log_lines_1").select("Warnings and errors").run()

    assert everything == "\n".join(lines)
    assert app.code[0].value == "\n".join(lines[1:])


def test_the_settings_of_two_runs_are_compared(finished):
    app = open_page("run", run=2, **{"with": "run 1: standard, seed 0, study 1"})

    shown = app.table[0].value.to_string()

    assert "weight of perceptual" in shown
    assert "lr_g" not in shown


def test_alerts_are_shown_in_the_chart_and_on_the_card(running):
    running.curves.add_alerts(
        running.jobs.read(1), [Alert(1, 16, "saturated", "The discriminator won.")], NOW
    )

    app = open_page("live")

    first = component_data(app, "live_chart")["series"][0]
    assert first["marks"] == [[16, "saturated", "The discriminator won."]]
    assert "Step 16: The discriminator won" in texts(app).replace("\\", "")


def test_a_diverged_run_has_a_mark_at_its_last_step(failed):
    series = component_data(open_page("live"), "live_chart")["series"]

    marks = [run["marks"] for run in series]
    assert marks == [[], [[8, "diverged", "diverged: l1 became infinite at step 3"]], []]


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("running", "22% · a study · Live"),
        ("finished", "done · a study"),
        ("failed", "ended · ![x](http://nowhere/x.png) *loud*"),
    ],
)
def test_the_title_of_the_tab_shows_the_progress_of_the_study(request, state, title):
    request.getfixturevalue(state)

    assert component_data(open_page("live"), "live_chart")["title"] == title


def test_the_chart_uses_the_view_in_the_url(finished):
    query = {"curve": "Discriminator loss", "axis": "epoch", "scale": "log", "by": "configuration"}

    view = component_data(open_page("live", **query), "live_chart")["view"]

    assert (view["metric"], view["axis"], view["log"]) == ("d_loss", "epoch", True)
    assert view["by"] == "configurations"


def test_test_pictures_are_shown_worst_first_and_in_pages(trained, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    st.cache_resource.clear()

    app = open_page("gallery", pictures="All test pictures")

    rows = component_data(app, "gallery")["rows"]
    assert len(rows) == 12
    first, second = (
        [float(row["captions"][run_id].split()[0]) for row in rows] for run_id in ("1", "2")
    )
    sums = [one + other for one, other in zip(first, second, strict=True)]
    assert sums == pytest.approx(sorted(sums), abs=0.02)
    assert "32 test pictures" in texts(app)


def test_a_clone_fills_the_form_on_every_visit_and_leaves_no_values_behind(empty):
    config = apply_settings(tiny_config("ganv2"), {"l1": "7"})
    empty.studies.add("key", "of one", [config], NOW)
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


def test_pages_open_if_the_folder_of_a_running_study_is_gone(running, tmp_path):
    config = tiny_config().model_copy(update={"data": f"photos:{tmp_path}/gone"})
    running.studies.add("gone", "far away", [config], NOW)
    while running.runs.read(4).state == RunState.QUEUED:
        job = running.jobs.claim(NOW)
    running.runs.start(job, config, 24, {}, NOW)
    running.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)

    for name in ("overview", "live", "run"):
        assert not open_page(name, study=2, run=4).exception


def test_the_chart_shows_the_runs_in_the_url(finished):
    finished.studies.extend(1, [tiny_config(seed=seed, epochs=3) for seed in (1, 2)], NOW)
    app = open_page("live", study=1, runs="2.3")
    assert [run["id"] for run in component_data(app, "live_chart")["series"]] == [2, 3]

    app.query_params["runs"] = "1"
    app.run()

    assert [run["id"] for run in component_data(app, "live_chart")["series"]] == [1]
