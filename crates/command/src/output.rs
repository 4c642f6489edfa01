//! Data to standard output, words for people to standard error.

pub(crate) mod columns;
pub(crate) mod heat;
pub(crate) mod number;

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::Failure;

/// How to talk.
pub(crate) struct Output {
    /// Nothing but data and errors.
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints data, with a newline at the end if it has none.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout();
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
            Err(error) => Err(Failure::usage(format!("cannot write to standard output: {error}"))),
        }
    }

    /// Prints data as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::usage)?;
        self.data(&text)
    }

    /// Whether data are shown in colours: on a terminal, unless the environment says otherwise.
    pub(crate) fn has_colours(&self) -> bool {
        anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
    }

    /// Tells a person something that is not data.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            anstream::eprintln!("{text}");
        }
    }

    /// Warns a person; not even `--quiet` hides it.
    pub(crate) fn warn(&self, text: impl Display) {
        let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
        anstream::eprintln!("{yellow}warning:{yellow:#} {text}");
    }
}

pub(crate) fn strong_red(text: &str) -> String {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    format!("{red}{text}{red:#}")
}

/// A plain table; columns named in `right` are aligned to the right.
pub(crate) fn table(header: &[&str], right: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(shown));
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A cell without control characters: names in files are anyone's, and a terminal obeys them.
fn shown(cell: String) -> String {
    if !cell.contains(char::is_control) {
        return cell;
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    cell.chars().map(escape).collect()
}

/// A number of things: `1 bit`, `2,000 bits`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// A whole number in groups of three: `66,170`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_things() {
        for (number, text) in [
            (0, "0 bits"),
            (1, "1 bit"),
            (999, "999 bits"),
            (1000, "1,000 bits"),
            (1_921_536, "1,921,536 bits"),
        ] {
            assert_eq!(counted(number, "bit"), text);
        }
    }
}
