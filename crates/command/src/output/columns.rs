//! Tables whose cells may have colours.

/// A cell: what is printed, and how wide that is without its colours.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    shown: String,
    width: usize,
}

impl Cell {
    /// A cell with escape sequences in it.
    pub(crate) fn coloured(shown: String) -> Self {
        let width = anstream::adapter::strip_str(&shown).to_string().chars().count();
        Self { shown, width }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let shown: String = text.into();
        Self { width: shown.chars().count(), shown }
    }
}

/// A plain table with two spaces between columns; columns named in `right` are aligned to the right.
pub(crate) fn columns(header: &[&str], right: &[usize], rows: Vec<Vec<Cell>>) -> String {
    let head = header.iter().map(|text| Cell::from(*text)).collect();
    let lines: Vec<Vec<Cell>> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|place| {
            lines.iter().filter_map(|line| line.get(place)).map(|cell| cell.width).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &Vec<Cell>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(place, (cell, width))| {
            let space = " ".repeat(width - cell.width);
            if right.contains(&place) { space + &cell.shown } else { cell.shown.clone() + &space }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        let rows = vec![
            vec![Cell::coloured("\u{1b}[31m10\u{1b}[0m".into()), "a".into()],
            vec!["7".into(), "bc".into()],
        ];
        assert_eq!(columns(&["bit", "x"], &[0], rows), "bit  x\n \u{1b}[31m10\u{1b}[0m  a\n  7  bc");
    }
}
