//! The elements of a tensor, one row each.

use std::ops::RangeInclusive;
use std::path::Path;

use bitquake::bits::Words;
use bitquake::inspect::TensorView;
use bitquake::tensors::TensorFile;
use serde_json::{Value, json};

use super::word::Look;
use crate::exit::Failure;
use crate::output::{Output, counted, grouped};

/// Rows that are shown when none are asked for.
const FEW: u64 = 32;

/// Rows that are printed at a time.
const CHUNK: u64 = 4096;

/// Which elements of which tensor.
pub(super) struct Which<'a> {
    pub(super) file: &'a Path,
    pub(super) tensor: Option<&'a str>,
    pub(super) index: Option<Elements>,
    pub(super) all: bool,
}

/// Elements of a flattened tensor, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Elements {
    first: u64,
    last: u64,
}

pub(super) fn parse_elements(text: &str) -> Result<Elements, String> {
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| "not an index, nor a range such as 3..9".to_owned());
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first} is behind {last}"));
    }
    Ok(Elements { first, last })
}

pub(super) fn run(which: &Which<'_>, look: &Look, json: bool, output: &Output) -> Result<(), Failure> {
    let view = open(which)?;
    let unreadable = || Failure::usage(format!("the bytes of `{}` cannot be read", which.file.display()));
    let (info, words) = (view.info().ok_or_else(unreadable)?, view.words().ok_or_else(unreadable)?);
    let Some(elements) = elements(which, &view, words.elements())? else {
        output.note("the tensor is empty");
        return if json { output.json(&Vec::<Value>::new()) } else { Ok(()) };
    };
    let last = *elements.end();
    if json {
        let rows =
            elements.map(|element| row_json(&view, &words, element, look)).collect::<Result<Vec<_>, _>>()?;
        return output.json(&json!({
            "tensor": info.name,
            "dtype": info.dtype.to_string(),
            "shape": info.shape,
            "elements": words.elements(),
            "rows": rows,
        }));
    }
    output.note(format!(
        "{}: {} {:?}, {}",
        info.name,
        info.dtype,
        info.shape,
        counted(words.elements(), "element")
    ));
    let mut from = *elements.start();
    while from <= last {
        let to = last.min(from.saturating_add(CHUNK - 1));
        let rows = (from..=to).map(|element| row_text(&view, &words, element, last, look));
        output.data(&rows.collect::<Result<Vec<_>, _>>()?.join("\n"))?;
        from = to + 1;
    }
    if which.index.is_none() && last + 1 < words.elements() {
        output.note(format!(
            "{} more; --all prints them, --index picks some",
            grouped(words.elements() - last - 1)
        ));
    }
    super::explain_colours(words.format(), output);
    Ok(())
}

fn open(which: &Which<'_>) -> Result<TensorView, Failure> {
    let file = TensorFile::open(which.file)?;
    let names: Vec<&str> = TensorView::names(&file).collect();
    let name = match (which.tensor, names.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, []) => {
            return Err(Failure::usage(format!(
                "`{}` has no tensor with a number format",
                which.file.display()
            )));
        }
        (None, [first, ..]) => {
            let (file, count) = (which.file.display(), names.len());
            return Err(Failure::usage(format!(
                "`{file}` has {count} tensors: name one, such as --tensor {first} (bitquake inspect lists them)"
            )));
        }
    };
    if let Some(info) = file.tensor(&name).filter(|info| info.dtype.format().is_none()) {
        return Err(Failure::usage(format!("tensor `{name}` is {}, which is no number format", info.dtype)));
    }
    Ok(TensorView::new(file, &name)?)
}

/// The elements to show; none of an empty tensor.
fn elements(
    which: &Which<'_>,
    view: &TensorView,
    there: u64,
) -> Result<Option<RangeInclusive<u64>>, Failure> {
    if let Some(Elements { first, last }) = which.index {
        view.check(&(first..=last))?;
        return Ok(Some(first..=last));
    }
    let most = if which.all { there } else { there.min(FEW) };
    Ok(most.checked_sub(1).map(|last| 0..=last))
}

fn word(words: &Words<'_>, element: u64) -> Result<u64, Failure> {
    words.get(element).ok_or_else(|| Failure::usage(format!("element {element} cannot be read")))
}

fn row_json(view: &TensorView, words: &Words<'_>, element: u64, look: &Look) -> Result<Value, Failure> {
    let mut row = json!({ "index": element, "indices": view.indices(element) });
    if let (Value::Object(row), Value::Object(shown)) =
        (&mut row, look.as_json(words.format(), word(words, element)?)?)
    {
        row.extend(shown);
    }
    Ok(row)
}

/// `17 [1,0,2,2]  0.0111…`; further lines of the same element stand below.
fn row_text(
    view: &TensorView,
    words: &Words<'_>,
    element: u64,
    last: u64,
    look: &Look,
) -> Result<String, Failure> {
    let width = place(view, last).len().max(place(view, element).len());
    let text = look.as_text(words.format(), word(words, element)?)?;
    let mut lines = text.lines();
    let first = format!("{:<width$}  {}", place(view, element), lines.next().unwrap_or_default());
    Ok(lines.fold(first, |text, line| format!("{text}\n{:width$}  {line}", "").trim_end().to_owned()))
}

fn place(view: &TensorView, element: u64) -> String {
    let indices = view.indices(element);
    if indices.len() < 2 {
        return element.to_string();
    }
    format!("{element} [{}]", indices.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_both_ends() {
        assert_eq!(parse_elements("3..9"), Ok(Elements { first: 3, last: 9 }));
        assert_eq!(parse_elements("17"), Ok(Elements { first: 17, last: 17 }));
        for bad in ["", "9..3", "a", "1..", "-1", "1...3"] {
            assert!(parse_elements(bad).is_err(), "{bad}");
        }
    }
}
