//! Several campaigns on one page.

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/small.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod small;

use std::ffi::OsString;

use common::run;

/// Trials that were drawn given that they have a fault are drawn as all trials would be.
#[test]
fn conditional_errors_are_those_of_all_trials() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, page) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("curves.html"));
    let at_least = [
        "--set",
        "name=a",
        "--set",
        "fault.rates=[1e-7]",
        "--set",
        "fault.at_least=1",
        "--set",
        "fault.bits='30'",
    ];
    small::campaign(&a, &at_least).ok();
    small::campaign(&b, &["--set", "name=b", "--set", "fault.rates=[1e-7]"]).ok();
    let summary = std::fs::read_to_string(a.join("summary.csv")).unwrap();
    let mut lines = summary.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let of = |name: &str| -> f64 {
        values[names.iter().position(|other| *other == name).unwrap()].parse().unwrap()
    };
    assert!(of("err_mean") > of("err_overall_mean") + 0.01, "{summary}");
    run(&["report".as_ref(), a.as_os_str(), b.as_os_str(), "-o".as_ref(), page.as_os_str()]).ok();
    let html = std::fs::read_to_string(&page).unwrap();
    let told = html.split("a at 10⁻⁷: ").nth(1).expect("a mark").split(' ').next().unwrap();
    let (told, overall): (f64, f64) = (told.parse().unwrap(), 100.0 * of("err_overall_mean"));
    assert!((told - overall).abs() < 0.01, "{told} {overall}");
}

#[test]
fn several_campaigns_on_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        small::campaign(&path(name), &["--set", &format!("name=CNN - {name}")]).ok();
    }
    let page = path("curves.html");
    let dirs: [OsString; 3] = ["report".into(), path("a").into(), path("b").into()];
    let of = |more: &[OsString]| run(&[&dirs, more].concat());
    of(&["-o".into(), page.clone().into()]).ok();
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<svg class=\"plot\"").count(), 1);
    for name in ["a", "b"] {
        assert!(html.contains(&format!("<bdi>{name}</bdi>")), "{name}");
    }
    assert!(of(&["--json".into()]).failed(2).contains("one result directory"));
    assert!(run(&[&dirs[..2], &[path("none").into()]].concat()).failed(3).contains("none"));
}
