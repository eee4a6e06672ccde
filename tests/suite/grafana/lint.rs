//! The rules of Grafana's own dashboard-linter, and some that it has not. Each is shown to find what it is for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::board::{Board, asked, boards, folder, list, text};
use super::promql::{Selector, selectors};

/// A rule tells what is wrong with a dashboard.
type Rule = fn(&Board) -> Vec<String>;

/// What makes a dashboard break a rule.
type Spoil = fn(&mut Value);

/// By the linter's names; what it has no rule for comes after. Whether a query is PromQL, a Prometheus says.
const RULES: &[(&str, Rule, Spoil)] = &[
    ("template-datasource", template_datasource, |d| {
        d["templating"]["list"][0]["label"] = json!("Prometheus");
    }),
    (
        "template-job",
        |board| template(board, "job", "Job", ".+"),
        |d| d["templating"]["list"][2]["allValue"] = json!(".*"),
    ),
    (
        "template-instance",
        |board| template(board, "instance", "Instance", ".+"),
        |d| {
            d["templating"]["list"][3]["multi"] = json!(false);
        },
    ),
    ("template-label-promql", template_label_promql, |d| {
        d["templating"]["list"][4]["query"]["query"] = json!("values_of(up, job)");
    }),
    ("template-on-time-change-reload", template_reload, |d| d["templating"]["list"][4]["refresh"] = json!(1)),
    ("panel-datasource", panel_datasource, |d| d["panels"][1]["datasource"]["uid"] = json!("prometheus")),
    ("panel-title-description", panel_title_description, |d| d["panels"][1]["description"] = json!("")),
    ("panel-units", panel_units, |d| d["panels"][1]["fieldConfig"]["defaults"]["unit"] = json!("frames")),
    ("panel-no-targets", panel_no_targets, |d| d["panels"][1]["targets"] = json!([])),
    ("target-rate-interval", target_rate_interval, |d| {
        d["panels"][1]["targets"][0]["expr"] = json!("rate(macwatch_interface_frames_total[5m])");
    }),
    (
        "target-job",
        |board| target_matcher(board, "job"),
        |d| {
            d["panels"][1]["targets"][0]["expr"] = json!("up{instance=~\"$instance\"}");
        },
    ),
    (
        "target-instance",
        |board| target_matcher(board, "instance"),
        |d| {
            d["panels"][1]["targets"][0]["expr"] = json!("up{job=~\"$job\", instance=\"$instance\"}");
        },
    ),
    ("target-counter-agg", target_counter_agg, |d| {
        d["panels"][1]["targets"][0]["expr"] = json!("macwatch_interface_frames_total{job=~\"$job\"}");
    }),
    // Targets without the label are of all sites.
    (
        "template site",
        |board| template(board, "site", "Site", ".*"),
        |d| d["templating"]["list"][1]["allValue"] = json!(".+"),
    ),
    (
        "target site",
        |board| target_matcher(board, "site"),
        |d| d["panels"][1]["targets"][0]["expr"] = json!("up{job=~\"$job\", instance=~\"$instance\"}"),
    ),
    ("nothing is not good", nothing_is_not_good, |d| {
        d["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"] = json!("green");
    }),
    ("bands are stacked", bands_are_stacked, |d| {
        d["panels"][6]["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] = json!("none");
    }),
    ("whole numbers in tables", whole_numbers, |d| {
        d["panels"][8]["targets"][0]["expr"] = json!("increase(macwatch_interface_frames_total[$__range])");
    }),
    ("uneditable", uneditable, |d| d["editable"] = json!(true)),
    ("no inputs", no_inputs, |d| d["__inputs"] = json!([])),
    ("ids", ids, |d| d["panels"][1]["id"] = d["panels"][0]["id"].clone()),
    ("places", places, |d| d["panels"][1]["gridPos"]["x"] = json!(3)),
    ("nothing to show", nothing_to_show, |d| {
        d["panels"][1]["fieldConfig"]["defaults"]["noValue"] = json!("");
    }),
    ("links", links, |d| {
        d["panels"][1]["fieldConfig"]["defaults"]["links"] = json!([{"url": "/d/macwatch-none"}]);
    }),
    ("a flood is what the alert says", floods, |d| {
        d["annotations"]["list"][0]["expr"] =
            json!("macwatch_interface_unknown_sources / macwatch_interface_sources_limit > 0.25");
    }),
];

#[test]
fn the_dashboards_keep_the_rules() {
    let boards = boards();
    for (name, rule, spoil) in RULES {
        for board in &boards {
            assert_eq!(rule(board), [""; 0], "{name}");
        }
        let mut spoiled = boards[0].clone();
        spoil(&mut spoiled.json);
        assert!(spoiled.json != boards[0].json && !rule(&spoiled).is_empty(), "{name} finds nothing");
    }
    let uids: BTreeSet<&str> = boards.iter().map(|board| text(&board.json, "uid")).collect();
    assert_eq!(uids.len(), boards.len(), "{uids:?}");
}

/// A fault if the condition does not hold.
fn unless(holds: bool, fault: impl FnOnce() -> String) -> Vec<String> {
    if holds { Vec::new() } else { vec![fault()] }
}

fn of_panels(board: &Board, wrong: impl Fn(&Value) -> bool) -> Vec<String> {
    assert!(board.panels().len() >= 8);
    let title = |panel| format!("{}: panel {}", board.file, text(panel, "title"));
    board.panels().iter().filter(|panel| wrong(panel)).map(title).collect()
}

fn of_selectors(board: &Board, wrong: impl Fn(&Selector) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for query in board.queries() {
        let found = selectors(query.expression());
        if found.is_empty() {
            faults.push(format!("{}: no selector", query.whose));
        }
        let bad = found.iter().filter(|selector| wrong(selector));
        faults.extend(bad.map(|selector| format!("{}: {selector:?}", query.whose)));
    }
    faults
}

fn template_datasource(board: &Board) -> Vec<String> {
    let kind = |variable: &&Value| variable["type"] == "datasource";
    let found: Vec<&Value> = board.variables().iter().filter(kind).collect();
    let good = |one: &Value| {
        one["name"] == "datasource" && one["label"] == "Data source" && one["query"] == "prometheus"
    };
    unless(matches!(found[..], [one] if good(one)), || format!("{}: {found:?}", board.file))
}

fn template(board: &Board, name: &str, label: &str, all: &str) -> Vec<String> {
    let good = board.variable(name).is_some_and(|one| {
        one["datasource"]["uid"] == "${datasource}"
            && one["type"] == "query"
            && one["label"] == label
            && one["multi"] == true
            && one["allValue"] == all
    });
    unless(good, || format!("{}: {:?}", board.file, board.variable(name)))
}

/// Variables that a query fills.
fn queried(board: &Board) -> impl Iterator<Item = &Value> {
    board.variables().iter().filter(|variable| variable["type"] == "query")
}

fn template_label_promql(board: &Board) -> Vec<String> {
    let wrong = |variable: &&Value| !["label_values", "query_result"].contains(&asked(variable).0.as_str());
    queried(board).filter(wrong).map(|one| format!("{}: {}", board.file, one["query"])).collect()
}

fn template_reload(board: &Board) -> Vec<String> {
    let wrong = |variable: &&Value| variable["refresh"] != 2;
    queried(board).filter(wrong).map(|one| format!("{}: {}", board.file, one["name"])).collect()
}

fn panel_datasource(board: &Board) -> Vec<String> {
    let ours = |one: &Value| {
        one["datasource"]["uid"] == "${datasource}" && one["datasource"]["type"] == "prometheus"
    };
    let mut faults = of_panels(board, |panel| !ours(panel) || !list(panel, "targets").iter().all(ours));
    for annotation in board.annotations().iter().filter(|one| !ours(one)) {
        faults.push(format!("{}: {}", board.file, annotation["name"]));
    }
    faults
}

fn panel_title_description(board: &Board) -> Vec<String> {
    of_panels(board, |panel| text(panel, "title").is_empty() || text(panel, "description").is_empty())
}

/// Of Grafana's units, those that make sense here.
const UNITS: &[&str] = &["none", "short", "percentunit", "decbytes", "pps", "Bps", "s", "dateTimeFromNow"];

fn panel_units(board: &Board) -> Vec<String> {
    of_panels(board, |panel| {
        let overrides =
            list(&panel["fieldConfig"], "overrides").iter().flat_map(|one| list(one, "properties"));
        let units = overrides.filter(|property| property["id"] == "unit").map(|property| &property["value"]);
        let mut units = units.chain([&panel["fieldConfig"]["defaults"]["unit"]]);
        !units.all(|unit| UNITS.contains(&unit.as_str().unwrap_or_default()))
    })
}

fn panel_no_targets(board: &Board) -> Vec<String> {
    of_panels(board, |panel| list(panel, "targets").iter().all(|target| text(target, "expr").is_empty()))
}

fn target_rate_interval(board: &Board) -> Vec<String> {
    of_selectors(board, |selector| {
        ["rate", "irate"].contains(&selector.function.as_str())
            && selector.range.as_deref() != Some("$__rate_interval")
    })
}

fn target_matcher(board: &Board, label: &str) -> Vec<String> {
    let matcher = format!("{label}=~\"${label}\"");
    of_selectors(board, |selector| !selector.matchers.split(", ").any(|one| one == matcher))
}

fn target_counter_agg(board: &Board) -> Vec<String> {
    of_selectors(board, |selector| {
        selector.name.ends_with("_total")
            && !["rate", "irate", "increase"].contains(&selector.function.as_str())
    })
}

fn uneditable(board: &Board) -> Vec<String> {
    unless(board.json["editable"] == false, || board.file.clone())
}

/// Inputs are asked for by the import page alone; provisioning leaves them as they stand.
fn no_inputs(board: &Board) -> Vec<String> {
    let keys = ["__inputs", "__requires", "__elements", "id", "version", "iteration"];
    let found = keys.iter().filter(|key| board.json.get(key).is_some());
    found.map(|key| format!("{}: {key}", board.file)).collect()
}

fn ids(board: &Board) -> Vec<String> {
    let uid = text(&board.json, "uid");
    let ids: BTreeSet<Option<u64>> = board.panels().iter().map(|panel| panel["id"].as_u64()).collect();
    let titles: BTreeSet<&str> = board.panels().iter().map(|panel| text(panel, "title")).collect();
    let mut faults =
        unless((8..=40).contains(&uid.len()) && board.json["tags"] == json!(["macwatch"]), || uid.to_owned());
    faults.extend(unless(!ids.contains(&None) && ids.len() == board.panels().len(), || format!("{ids:?}")));
    faults.extend(unless(titles.len() == board.panels().len(), || format!("{titles:?}")));
    for panel in board.panels() {
        let refs: BTreeSet<&str> =
            list(panel, "targets").iter().map(|target| text(target, "refId")).collect();
        faults.extend(unless(refs.len() == list(panel, "targets").len(), || format!("{refs:?}")));
    }
    faults
}

/// No two panels cover each other, and none leaves the grid of 24 columns.
fn places(board: &Board) -> Vec<String> {
    let (mut taken, mut faults) = (BTreeSet::new(), Vec::new());
    for panel in board.panels() {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for (x, y) in (side("x")..side("x") + side("w"))
            .flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
        {
            if x >= 24 || !taken.insert((x, y)) {
                faults.push(format!("{}: panel {} at {x}, {y}", board.file, panel["title"]));
            }
        }
    }
    faults
}

/// What stands there when there is nothing is said, not `No data`: whether that is good or bad is known here.
fn nothing_to_show(board: &Board) -> Vec<String> {
    let counted = |panel: &Value| text(&panel["targets"][0], "expr").ends_with("or vector(-1)");
    of_panels(board, |panel| text(&panel["fieldConfig"]["defaults"], "noValue").is_empty() && !counted(panel))
}

/// Without a value Grafana takes the colour of the lowest step: `no exporter` must not look like a good answer.
fn nothing_is_not_good(board: &Board) -> Vec<String> {
    of_panels(board, |panel| {
        let lowest = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"];
        panel["type"] == "stat" && lowest == "green"
    })
}

/// Areas that are filled densely hide what is behind them, so that none may be behind another.
fn bands_are_stacked(board: &Board) -> Vec<String> {
    of_panels(board, |panel| {
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        custom["fillOpacity"].as_u64() > Some(30) && custom["stacking"]["mode"] != "normal"
    })
}

/// `increase` extrapolates, and nobody sends 27.2 frames.
fn whole_numbers(board: &Board) -> Vec<String> {
    of_panels(board, |panel| {
        let expressions = list(panel, "targets").iter().map(|target| text(target, "expr"));
        let mut increases = expressions.filter(|expression| expression.contains("increase("));
        panel["type"] == "table" && increases.any(|expression| !expression.starts_with("round("))
    })
}

/// Queries that tell a flood by who is unknown have the condition of MacwatchSourceFlood, with selectors of their own.
fn floods(board: &Board) -> Vec<String> {
    let rules = folder().join("../deploy/prometheus/rules/macwatch.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let limit = "/ macwatch_interface_sources_limit > 0.25";
    let bare = |text: &str| -> String {
        let parts = text.split('{').map(|part| part.split_once('}').map_or(part, |(_, behind)| behind));
        parts.collect::<String>().split_whitespace().collect()
    };
    let start = rules.find("count without (source_mac) (").unwrap();
    let end = start + rules[start..].find(limit).unwrap() + limit.len();
    let (rule, limit) = (bare(&rules[start..end]), bare(limit));
    let asked = board.queries().into_iter().map(|query| (bare(query.expression()), query.whose));
    let wrong = asked.filter(|(expression, _)| expression.contains(&limit) && !expression.contains(&rule));
    wrong.map(|(_, whose)| whose).collect()
}

/// Links lead to dashboards that are there, under variables that they have.
fn links(board: &Board) -> Vec<String> {
    let boards = boards();
    let mut urls = Vec::new();
    collect(&board.json, &mut urls);
    let mut faults = unless(!urls.is_empty(), || format!("{}: no links", board.file));
    for url in urls.into_iter().filter(|url| !url.starts_with("http://${__data.fields.instance}/?")) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let Some(to) = boards.iter().find(|to| path == format!("/d/{}", text(&to.json, "uid"))) else {
            faults.push(format!("{}: {url} leads nowhere", board.file));
            continue;
        };
        for word in query.split('&') {
            let name = word.strip_prefix("var-").and_then(|rest| rest.split('=').next());
            let own = word.strip_prefix("${").and_then(|rest| rest.strip_suffix(":queryparam}"));
            let known = match (name, own) {
                (Some(name), _) => to.variable(name).is_some(),
                (_, Some(name)) => to.variable(name).is_some() && board.variable(name).is_some(),
                _ => word == "${__url_time_range}",
            };
            faults.extend(unless(known, || format!("{}: {word} in {url}", board.file)));
        }
    }
    faults
}

/// All that stands under a key `url` and is not empty.
fn collect<'v>(value: &'v Value, urls: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            urls.extend(fields.get("url").and_then(Value::as_str).filter(|url| !url.is_empty()));
            fields.values().for_each(|field| collect(field, urls));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, urls)),
        _ => {}
    }
}
