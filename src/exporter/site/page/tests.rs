use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::sources::{Limits, Nobody, Sources};
use crate::web::Verdict;

fn pages(telemetry_path: &str) -> Pages {
    let limits = Limits { per_interface: 1, total: 1, idle_timeout: Duration::MAX };
    Pages {
        sources: Sources::new(limits, Arc::new(Nobody)).unwrap(),
        known: Arc::default(),
        vendors: Arc::default(),
        board: Arc::default(),
        telemetry_path: telemetry_path.to_owned(),
        security: None,
        port: 10148,
    }
}

fn page(pages: &Pages, query: &str) -> (Verdict, String) {
    let mut out = Vec::new();
    let verdict = pages.page(query, &mut out).unwrap();
    (verdict, String::from_utf8(out).unwrap())
}

#[test]
fn says_what_to_do_without_interfaces() {
    let (verdict, page) = page(&pages("/metrics"), "");
    assert_eq!(verdict, Verdict::Answered);
    for part in ["None is watched", ":10148'", "href=\"./metrics\"", "No source has sent anything yet."] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("metrics_path"), "the default needs no line: {page}");
}

#[test]
fn another_path_is_linked_and_escaped() {
    let (_, page) = page(&pages("/a'<b>"), "");
    assert!(page.contains("href=\"./a&#39;&lt;b&gt;\""), "{page}");
    assert!(page.contains("metrics_path: '/a&#39;&lt;b&gt;'"), "{page}");
}

#[test]
fn what_is_wrong_with_a_query_is_said_and_escaped() {
    let (verdict, page) = page(&pages("/metrics"), "sort=%3Cscript%3E");
    assert_eq!(verdict, Verdict::Refused);
    assert!(page.contains("<code>sort=&lt;script&gt;</code> makes no sense"), "{page}");
}

#[test]
fn filters_are_shown_as_they_were_asked() {
    let (_, page) =
        page(&pages("/metrics"), "q=%22%3E&interface=a%26b&interface=c&sort=-frames&limit=7&known=false");
    for part in [
        "value=\"&quot;&gt;\"",
        "<option value=\"a&amp;b\" selected>a&amp;b</option>",
        "name=\"interface\" multiple",
        "<select id=\"sort\" name=\"sort\">",
        "<option value=\"-frames\" selected>most frames</option>",
        "name=\"limit\" value=\"7\"",
        "<option value=\"false\" selected>",
        "No source is like that.",
        "href=\"./api/v1/sources?interface=a%26b&amp;interface=c&amp;known=false&amp;q=%22%3E",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// The API, from which such an address may have been copied, takes it.
#[test]
fn a_limit_that_is_cut_is_told() {
    let told = "<code>limit=1001</code> asks for more than a page holds: at most 1,000 sources are on each. \
                <a href=\"./api/v1/sources?limit=1001\">";
    for (query, is_told) in [("limit=1001", true), ("limit=1000", false), ("", false)] {
        let (verdict, page) = page(&pages("/metrics"), query);
        assert_eq!(verdict, Verdict::Answered);
        assert_eq!(page.contains(told), is_told, "{query}: {page}");
    }
}

#[test]
fn every_order_can_be_chosen_and_stays() {
    for (query, chosen) in [
        ("", "value=\"\" selected>unknown first<"),
        ("sort=name", "value=\"name\" selected>name<"),
        ("sort=-name", "value=\"-name\" selected>-name<"),
    ] {
        let (_, page) = page(&pages("/metrics"), query);
        let (_, select) = page.split_once("name=\"sort\">").unwrap();
        let (select, _) = select.split_once("</select>").unwrap();
        assert!(select.contains(chosen) && select.matches(" selected").count() == 1, "{select}");
        for option in select.split("value=\"").skip(1).filter_map(|rest| rest.split_once('"')) {
            assert!(Query::parse(&format!("sort={}", option.0)).is_ok(), "{}", option.0);
        }
    }
}

#[test]
fn all_that_is_served_has_a_path_that_is_reserved() {
    for resource in pages("/metrics").resources().unwrap() {
        let path = format!("{resource:?}").split('"').nth(1).unwrap().to_owned();
        assert!(crate::exporter::is_reserved(&path), "{path}");
    }
}
