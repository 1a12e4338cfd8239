"""The report escapes text of users, lists real differences and says why there are no findings."""

from dataclasses import replace
from html.parser import HTMLParser

import jinja2
import pytest

from engine.overrides import apply_settings
from engine.records.runs import Evaluation, RunState
from engine.report import html_report, rendering
from engine.report.comparison import build_comparison
from engine.report.findings import Finding, missing_findings_sentence
from tests.support.comparisons import measured, study_of

HOSTILE = (
    """</style></title><script>alert("1")</script><img src=x onerror='alert(2)'> `a<b` *c* {{7}}"""
)


class Elements(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def report_of(comparison, findings, runs, environment):
    image = html_report.ReportImage(HOSTILE, HOSTILE, b"png")
    return html_report.build_report(comparison, findings, runs, [], [image], environment)


def test_text_of_users_in_every_part_of_the_report_is_shown_as_text(store):
    study, runs = study_of(store, seeds=1)
    study = replace(study, name=HOSTILE, data=HOSTILE)
    runs = [replace(run, configuration=f"{HOSTILE}{run.id}") for run in runs]
    values = [measured(runs[0], 10.0, note=HOSTILE)]
    values += [Evaluation(runs[1].id, "test", "fid", None, 0, 3, missing=HOSTILE)]
    comparison = replace(build_comparison(study, runs, values, []), notes=(HOSTILE,))
    findings = [Finding("caution", HOSTILE)]

    page = Elements(report_of(comparison, findings, runs, {HOSTILE: HOSTILE}))

    assert page.count("script") == 1  # plotly
    assert [tag for tag, attributes in page.tags if "onerror" in attributes] == []
    assert page.count("img") == 1
    assert page.count("title") == page.count("style") == 1
    shown = HOSTILE.replace("`", "")  # text in backticks is code
    assert page.text.count(HOSTILE) + page.text.count(shown) >= 9
    assert page.count("code") >= 4


@pytest.mark.parametrize("template", ["findings.html.jinja", "report.html.jinja"])
def test_a_template_with_a_missing_variable_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError):
        rendering.render(html_report.TEMPLATES / template, with_style=True)


def test_another_template_can_replace_single_blocks(tmp_path, store):
    study, _ = study_of(store, seeds=1)
    names = [path.name for path in html_report.TEMPLATES.iterdir()]
    for name in names:
        (tmp_path / name).write_text((html_report.TEMPLATES / name).read_text())
    (tmp_path / "own.html.jinja").write_text(
        '{% extends "report.html.jinja" %}{% block header %}<h1>Ours</h1>{% endblock %}'
        + "".join(f"{{% block {name} %}}{{% endblock %}}" for name in BLOCKS)
    )

    page = rendering.render(tmp_path / "own.html.jinja", study=study, plotly_js="")

    assert Elements(page).text.split() == ["a", "study:", "report", "Ours"]


BLOCKS = (
    *("style", "configurations", "findings", "comparison", "pictures", "figures", "environment"),
    "instructions",
)


def started(run, **changes):
    resolved = apply_settings(run.config, {"device": "cpu", "threads": "8", **changes})
    return replace(run, resolved=resolved)


@pytest.fixture
def unresolved(store):
    """Two runs of different configurations whose execution settings are `auto`."""
    _, (first, second, _) = study_of(store, seeds=1)
    execution = {"device": "auto", "threads": "auto", "precision": "auto"}
    return [replace(run, config=apply_settings(run.config, execution)) for run in (first, second)]


def test_settings_of_a_started_run_do_not_differ_from_those_of_a_run_that_has_not_started(
    unresolved,
):
    first, second = unresolved

    for runs in ([started(first), second], [first, started(second)]):
        assert set(html_report.configuration_differences(runs)) == {"weight of perceptual"}


def test_settings_of_started_runs_are_compared_as_resolved(unresolved):
    first, second = unresolved

    differences = html_report.configuration_differences(
        [started(first), started(second, threads="4")]
    )

    assert differences["threads"] == {"standard": "8", "perceptual": "4"}


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ((RunState.QUEUED, RunState.RUNNING), "No run has ended yet."),
        (
            (RunState.FAILED, RunState.DIVERGED, RunState.FAILED),
            "No run is done: 2 failed, 1 diverged.",
        ),
        ((RunState.QUEUED, RunState.CRASHED), "No run is done: 1 queued, 1 crashed."),
        ((RunState.DONE, RunState.FAILED), "There are no findings."),
    ],
)
def test_a_report_without_findings_gives_the_reason(store, states, sentence):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, state=state) for run, state in zip(runs, states, strict=False)]

    page = report_of(build_comparison(study, runs, [], []), [], runs, {})

    assert f"<p>{sentence}</p>" in page
    assert missing_findings_sentence(runs) == sentence
