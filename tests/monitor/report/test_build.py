"""The report: what it holds, what it says is missing, and that no value from a file breaks it."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.monitor.pictures import loss_picture
from megatron_lrps.monitor.pictures.axis import axis_of
from megatron_lrps.monitor.report.build import Written, write_report
from megatron_lrps.monitor.report.sections import in_order
from megatron_lrps.plan import Tree
from tests.monitor import chromium

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>&\"'\x00\ud800\u202e]]>"
SVG = "{http://www.w3.org/2000/svg}"


def report(tree: Tree, *, notes: tuple[str, ...] = ()) -> tuple[Written, str]:
    campaign = CampaignFolder(tree.plan.folder)
    done = write_report(Campaign(tree), folder=campaign.report, notes=notes, now=NOW)
    return done, done.page.read_text(encoding="utf-8")


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.removeprefix("<!doctype html>\n"))


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join(" ".join(element.itertext()).split())


def section(root: ElementTree.Element, name: str) -> ElementTree.Element:
    found = root.find(f".//section[@id='{name}']")
    assert found is not None
    return found


def save(campaign: CampaignFolder, path: str, iteration: int) -> None:
    folder = campaign.path(path).checkpoints / f"iter_{iteration:07d}"
    folder.mkdir(parents=True)
    for name in (".metadata", "metadata.json"):
        (folder / name).write_text("x")
    log_event(campaign.path(path), "saved", iteration=iteration)


def score(campaign: CampaignFolder, path: str, iteration: int, ppl: float, **tasks: Mapping[str, Any]) -> None:
    folder = campaign.root / "eval" / path
    folder.mkdir(parents=True)
    sets = {
        "v1-web": {"perplexity": ppl, "loss": math.log(ppl), "bits_per_byte": 1.5, "tokens": 4096, "engine": "export"}
    }
    facts = {"format": 1, "path": path, "iteration": iteration, "checkpoint_sha256": None}
    (folder / "results.json").write_text(json.dumps({**facts, "perplexity": sets, "tasks": tasks}))


@pytest.fixture
def half_way(make_tree, log_job) -> Tree:
    """Main and v1 are trained, v2 has begun, CPT has not; v1 is scored and released."""
    tree = make_tree(2, 100, paradigm="[lrps, cpt]")
    campaign = CampaignFolder(tree.plan.folder)
    for path, fork, end in (("main", 0, 140), ("v1", 40, 100), ("v2", 140, 150)):
        folder = campaign.path(path)
        log_event(folder, "started", iteration=fork, forked=fork > 0)
        values = [("lm loss", i, 2 + 8 / i) for i in range(fork + 1, end + 1)]
        log_job(campaign.tensorboard(path), [*values, ("lm loss validation-v1-web", end, 3.25)])
        for iteration in {40, 140} if path == "main" else {end}:
            save(campaign, path, iteration)
        log_event(folder, "done" if path != "v2" else "stopped", iteration=end, reason=None)
    score(campaign, "v1", 100, 9.5, arc_easy={"metrics": {"acc": 0.5, "acc_stderr": 0.01}, "settings": {}})
    facts = {"verified": "as saved", "checked": 1.2e-6, "export": "x/v1", "gate": ["acc/arc_easy >= 0.4: 0.5 holds"]}
    log_event(campaign.path("v1"), "released", iteration=100, name="v1", facts=facts)
    return tree


def test_a_campaign_half_way(half_way):
    done, text = report(half_way)
    root = parsed(text)
    assert root.attrib["lang"] == "en"
    assert root.findtext("head/title") == "Campaign demo"
    assert [words(each) for each in root.iter("h1")] == ["Campaign demo"]
    assert {each.tag for each in root.iter()} >= {"header", "nav", "main", "footer"}
    state = words(section(root, "state"))
    assert "v1 released 100%; forks at 40, ends at 100" in state
    assert "v2 stopped at 150 of 200 16%; forks at 140, ends at 200" in state  # 10 of 60 iterations
    assert "Half-way: v2 at 150 of 200, which nobody trains now." in state
    assert "Nothing saved yet: cpt-v1, cpt-v2." in state
    assert "67% of retraining each version (PTFS) is what CPT costs" in state  # 200 of 300 iterations
    assert "v1 100 2.0816 3.2500" in words(section(root, "losses"))  # the median of 2 + 8 / (96 ... 100)
    assert "4 samples of 8 tokens; the last one, 200, is at 800 samples and 6,400 tokens" in text
    versions = words(section(root, "versions"))
    assert "LRPS 260 8,320 87% 130%" in versions
    assert "v1 v1 lrps 100 60 100 100% 9.5000 1.5000 0.5000" in versions
    assert "arc_easy acc 0.5000 0.0100" in words(section(root, "scores"))
    assert "differ by at most 1.2e-06" in words(section(root, "releases"))
    assert "acc/arc_easy >= 0.4: 0.5 holds" in words(section(root, "releases"))
    assert "saved 2 checkpoints, at 40 to 140" in words(section(root, "events"))
    assert not any(str(half_way.plan.folder) in each for each in done.missing)
    assert [each.name for each in done.pictures] == [
        *("tree.svg", "tree.png", "lr-paths.svg", "lr-paths.png", "losses.svg", "losses.png")
    ]
    assert sorted(each.name for each in done.page.parent.iterdir()) == sorted(
        ["report.html", *(each.name for each in done.pictures)]
    )


def test_listed_paths_have_no_price_of_their_versions(listed):
    _, text = report(listed)
    root = parsed(text)
    assert "of retraining each version" not in words(section(root, "state"))
    versions = words(section(root, "versions"))
    assert "Cost of all paths" in versions
    assert "EXPLICIT 400 12,800 - -" in versions  # four paths of 100 iterations of 32 tokens
    assert "whole v2 explicit 200 100 - -" in versions


def test_losses_that_are_not_finite_are_said_in_words(make_tree, log_job):
    tree = make_tree(2, 100)
    campaign = CampaignFolder(tree.plan.folder)
    broken = {20: math.nan, 21: math.inf, 99: math.nan}
    log_job(campaign.tensorboard("main"), [("lm loss", i, broken.get(i, 3 + i / 100)) for i in range(1, 101)])
    log_job(campaign.tensorboard("v1"), [("lm loss", 50, 3.0), ("lm loss validation-v1-web", 100, math.nan)])
    done, text = report(tree)
    losses = words(section(parsed(text), "losses"))
    assert "main 100 3.9750, 1 of the last 5 not finite" in losses  # of 3.96, 3.97, 3.98 and 4
    assert "v1 50 3.0000 not finite" in losses
    said = "Not finite, and left out of the curves: main training, 3 from 20 to 99; v1 on v1-web, 1 at 100."
    assert said in losses
    assert done.pictures[4].read_text().count("x: not finite") == 2  # losses.svg: the training's panel, and v1-web's
    assert "not finite" in words(section(parsed(text), "versions"))


def test_throughput_by_gpu(make_tree, log_job):
    tree = make_tree(2, 100)
    log_job(CampaignFolder(tree.plan.folder).tensorboard("main"), [("throughput", 1, 400.0), ("grad-norm", 1, 0.5)])
    pace = words(section(parsed(report(tree)[1]), "pace"))
    assert "path gradient norm, median of last 5 highest seconds an iteration TFLOP/s a GPU GPU-hours" in pace
    assert "main 0.500 0.500 - 400.0 -" in pace
    assert "GPU-hours are ranks by the time" in pace


def test_the_data_that_a_version_has_read(half_way):
    _, text = report(half_way)
    data = words(section(parsed(text), "data"))
    assert "v1 by plan v1 t1 400 - -" in data  # without a record, what the plan says: 100 iterations of 4 samples
    assert "cpt-v2 by plan v2 t2 400 - -" in data


def test_no_backtick_is_left(half_way):
    _, text = report(half_way)
    assert "`" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert "<code>lrps report PLAN</code>" in text


def test_nothing_trained(make_tree):
    tree = make_tree(2, 100)
    done, text = report(tree)
    root = parsed(text)
    assert [each.name for each in done.pictures] == ["tree.svg", "tree.png", "lr-paths.svg", "lr-paths.png"]
    assert done.missing == ("Nothing saved yet: main, v1, v2.",)
    assert "No path has logged a loss yet." in words(section(root, "losses"))
    assert "No version has been evaluated" in words(section(root, "scores"))
    assert "No path has logged or printed" in words(section(root, "pace"))
    assert "Nothing has happened yet." in words(section(root, "events"))
    assert "main ready 0%; ends at 140" in words(section(root, "state"))


def test_no_value_from_a_file_breaks_the_page(half_way):
    campaign = CampaignFolder(half_way.plan.folder)
    folder = campaign.path("v2")
    log_event(folder, "failed", iteration=150, reason=HOSTILE + "x" * 5000)
    log_event(folder, HOSTILE, iteration=-1)
    log_event(folder, "released", iteration="x", name=HOSTILE, facts={"gate": [HOSTILE, 1], "checked": "no"})
    folder.events.open("a").write('{"event": "saved", "iteration": null, "time": 5}\n[1]\n{"event": 4}\n{torn')
    folder.record.write_text('{"record_version": 1, "path": "<b>')
    campaign.path("main").record.write_text('{"record_version": 99}')
    score(campaign, "v2", 150, 9.0, **{HOSTILE: {"metrics": {HOSTILE: 1.0, "acc": None, "f1": "<b>"}, "settings": {}}})
    (campaign.root / "eval" / "main").mkdir()
    (campaign.root / "eval" / "main" / "results.json").write_text("{")
    done, text = report(half_way, notes=(HOSTILE,))
    root = parsed(text)
    assert not list(root.iter("script"))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\ud800-\udfff\u202e]", text)
    assert any("is of record_version 99" in each for each in done.missing)
    assert any("v2/path.json cannot be read" in each for each in done.missing)
    assert any("main/results.json cannot be read" in each for each in done.missing)
    assert len(text) < 200_000


@pytest.mark.parametrize("key", ["metrics", "settings"])
def test_scores_of_another_shape_are_named(half_way, key):
    campaign = CampaignFolder(half_way.plan.folder)
    score(campaign, "v2", 150, 9.0, arc={"metrics": {"acc": 1.0}, "settings": {}, key: [1]})
    done, _ = report(half_way)
    assert any("v2/results.json cannot be read" in each for each in done.missing)


def test_nothing_is_fetched(half_way):
    _, text = report(half_way)
    addresses = [
        value
        for element in parsed(text).iter()
        for key, value in element.attrib.items()
        if key.rpartition("}")[2] in ("src", "href", "srcset", "action", "data")
    ]
    assert addresses
    assert all(each.startswith("#") for each in addresses)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_links_and_labels_have_their_targets_and_ids_are_single(half_way):
    _, text = report(half_way)
    root = parsed(text)
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids))
    wanted = {each.attrib["href"][1:] for each in root.iter() if "href" in each.attrib}
    wanted |= {name for each in root.iter() for name in each.attrib.get("aria-labelledby", "").split()}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted <= set(ids)


def test_tables_and_pictures_have_names(half_way):
    _, text = report(half_way)
    root = parsed(text)
    tables = list(root.iter("table"))
    assert len(tables) >= 7
    for table in tables:
        assert words(table.find("caption"))
        assert all(each.attrib["scope"] == "col" for each in table.findall("thead/tr/th"))
        assert all(row[0].tag == "th" and row[0].attrib["scope"] == "row" for row in table.findall("tbody/tr"))
    regions = [each for each in root.iter("div") if each.attrib.get("class") == "scroll"]
    assert all(each.attrib["tabindex"] == "0" and each.attrib["aria-label"] for each in regions)
    assert {id(table) for region in regions for table in region.iter("table")} == set(map(id, tables))
    pictures = list(root.iter(f"{SVG}svg"))
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.attrib["role"] == "img"
        assert [each.tag for each in picture[:2]] == [f"{SVG}title", f"{SVG}desc"]
        assert all(words(each) for each in picture[:2])


def test_saves_are_condensed_and_paths_in_the_order_of_time():
    def event(minute: int, name: str, **fields: Any) -> dict[str, Any]:
        return {"time": f"2026-11-24T10:{minute:02d}:00+00:00", "event": name, **fields}

    main = [
        event(0, "started", iteration=0),
        *(event(i, "saved", iteration=10 * i) for i in range(1, 6)),
        event(6, "stopped", iteration=50, reason="SIGTERM"),
        event(8, "started", iteration=50),
        event(9, "saved", iteration=60),
    ]
    lines = in_order({"main": main, "v1": [event(7, "started", iteration=20, forked=True)]})
    assert [(line.path, line.what) for line in lines] == [
        ("main", "started from scratch"),
        ("main", "saved 5 checkpoints, at 10 to 50"),
        ("main", "stopped at 50: SIGTERM"),
        ("v1", "forked at 20"),
        ("main", "resumed at 50"),
        ("main", "saved a checkpoint, at 60"),
    ]


def test_thinning_keeps_extremes_and_bounds_the_page(make_tree, log_job):
    tree = make_tree(2, 20_000)
    campaign = CampaignFolder(tree.plan.folder)
    series = [(i, 9.0 if i == 7777 else 0.5 if i == 5555 else 2 + 8 / i + 0.1 * (i % 7)) for i in range(1, 28_001)]
    thin = loss_picture._extremes(series, 40_000 // loss_picture.RAW_BINS)
    assert len(thin) <= 2 * loss_picture.RAW_BINS
    assert (7777, 9.0) in thin
    assert (5555, 0.5) in thin
    assert all(before[0] < after[0] for before, after in pairwise(thin))
    values = [("lm loss", step, loss) for step, loss in series[::4]]
    log_job(
        campaign.tensorboard("main"), [*values, *(("lm loss validation-v1-web", i, 3.0) for i in range(20, 28_001, 20))]
    )
    done, _ = report(tree)
    assert done.page.stat().st_size < 300_000


def test_an_unreadable_event_file_is_named_and_the_rest_shown(half_way):
    (file,) = CampaignFolder(half_way.plan.folder).tensorboard("v1").glob("events*")
    file.unlink()
    file.mkdir()
    (CampaignFolder(half_way.plan.folder).path("main").logs / "0.log").mkdir(parents=True)
    done, text = report(half_way)
    assert f"What v1 has logged is left out: tensorboard/v1/{file.name} cannot be read: Is a directory." in done.missing
    assert "The logs of main are left out: paths/main/logs/0.log cannot be read: Is a directory." in done.missing
    assert not any("without TensorBoard files" in each for each in done.missing)
    losses = words(section(parsed(text), "losses"))
    assert "main 140 2.0580 3.2500" in losses  # the median of 2 + 8 / (136 ... 140)
    assert "v1 100" not in losses


def test_another_axis(half_way):
    campaign = CampaignFolder(half_way.plan.folder)
    axis = axis_of(half_way.plan, "tokens")
    done = write_report(Campaign(half_way), folder=campaign.report, notes=(), now=NOW, axis=axis)
    for picture in done.pictures[::2]:
        shown = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text())
        assert {"tokens", "2K", "4K"} <= set(shown), picture  # an iteration is 32 of them; 150 are trained, of 200
        assert "iteration" not in shown
    assert "1.28K" in done.pictures[2].read_text()  # the fork at 40


@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser(half_way, tmp_path, program, dark):
    done, _ = report(half_way)
    with chromium.browser(program, tmp_path / "profile") as tab:
        for width in (320, 1280):
            tab.open(done.page, width=width, dark=dark)
            assert tab.evaluate("document.title") == "Campaign demo"
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        stops = tab.evaluate("document.querySelectorAll('a, summary, [tabindex]').length")
        reached, seen = set(), True
        for _ in range(stops):
            tab.press_tab()
            reached.add(tab.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText"))
            seen &= tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tables = tab.evaluate("[...document.querySelectorAll('table')].map(each => each.parentElement.ariaLabel)")
        assert len(tables) >= 7
        assert set(tables) <= reached
        assert {"Paths of demo", "Learning rate of demo", "Losses of demo", "Skip to the content"} <= reached
        assert seen  # the focus is
        assert not tab.errors
        assert {each for each in tab.fetched if not each.startswith("file:")} == set()
