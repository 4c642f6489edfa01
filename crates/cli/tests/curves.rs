//! Several campaigns on one page.

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/small.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod small;

use std::ffi::OsString;

use common::run;

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
