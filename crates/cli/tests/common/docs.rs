//! Tables of the guides that are generated from what the command knows.

use std::path::Path;

/// Compares the block `<!-- generated: NAME -->` of a page in `docs/` with what it should be. With `BITQUAKE_BLESS=1` in the
/// environment the page is rewritten instead.
pub fn assert_generated(page: &str, name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).expect("the page");
    let (start, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let (before, rest) = text.split_once(&start).expect("the block begins");
    let (shown, after) = rest.split_once(end).expect("the block ends");
    let block = format!("\n{}\n\n", wanted.trim());
    if std::env::var_os("BITQUAKE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{start}{block}{end}{after}")).expect("written");
        return;
    }
    assert_eq!(shown, block, "docs/{page}: run this test with BITQUAKE_BLESS=1 to write `{name}` again");
}

/// A Markdown table.
pub fn markdown(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|{}", "---|".repeat(header.len()));
    let rows = rows.into_iter().map(|row| line(&row));
    [line(&header), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}
