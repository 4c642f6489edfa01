//! Layers of TOML: later files and `--set` override earlier ones key by key.

use std::path::{Path, PathBuf, absolute};

use bitquake_tensors::read_text;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::ConfigError;
use crate::explain::explain;

/// The largest file that is taken for a configuration.
const MOST_BYTES: u64 = 64 << 20;

/// Keys of a table of faults that say how many there are: one of them takes the place of the others.
const AMOUNTS: [&str; 9] =
    ["rates", "counts", "fractions", "sites", "pattern", "position_rates", "regions", "voltages", "parts"];

/// Which keys of a kind of file mean more than their text. Keys are dotted, and go through every entry of a list.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Paths, such as `model.path`: relative to the file that they stand in, in settings to the working directory.
    pub paths: &'a [&'a str],
    /// Tables of faults ([`FaultConfig`](crate::FaultConfig)), such as `fault`: the files in them are paths too, and an amount of
    /// faults takes the place of any other.
    pub faults: &'a [&'a str],
}

/// Reads files, later ones on top of earlier ones, then `key=value` settings on top of all: tables are merged, anything else is
/// replaced. All paths are made absolute.
///
/// ```
/// use bitquake_config::{Layout, read_layers};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Recipe {
///     epochs: u32,
/// }
/// let layout = Layout { paths: &[], faults: &[] };
/// let recipe: Recipe = read_layers(&[], &["epochs=3".into()], layout)?;
/// assert_eq!(recipe.epochs, 3);
/// let wrong = read_layers::<Recipe>(&[], &["epoch=3".into()], layout);
/// assert!(wrong.err().unwrap().to_string().contains("did you mean `epochs`?"));
/// # Ok::<(), bitquake_config::ConfigError>(())
/// ```
///
/// # Errors
/// [`ConfigError::Read`]; [`ConfigError::Wrong`] for what is not TOML, no setting, or not what `T` takes.
pub fn read_layers<T: DeserializeOwned>(
    files: &[PathBuf],
    settings: &[String],
    layout: Layout<'_>,
) -> Result<T, ConfigError> {
    let mut all = Table::new();
    for file in files {
        merge_layer(&mut all, read_file(file, layout)?, layout.faults);
    }
    for text in settings {
        let table = absolute_paths(assignment(text)?, layout, Path::new("."));
        merge_layer(&mut all, table, layout.faults);
    }
    all.try_into().map_err(|error| ConfigError::in_files(files, explain(&error)))
}

fn read_file(file: &Path, layout: Layout<'_>) -> Result<Table, ConfigError> {
    let text =
        read_text(file, MOST_BYTES).map_err(|source| ConfigError::Read { path: file.to_owned(), source })?;
    let table: Table = toml::from_str(&text)
        .map_err(|error| ConfigError::wrong(file.display().to_string(), explain(&error)))?;
    Ok(absolute_paths(table, layout, file.parent().unwrap_or(Path::new("."))))
}

/// Puts `over` on top of `base`.
fn merge_layer(base: &mut Table, over: Table, faults: &[&str]) {
    for key in faults {
        replace_amount(table_at(base, key), over_at(&over, key));
    }
    merge(base, over);
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Drops the amount of a table of faults where the table on top has one.
fn replace_amount(below: Option<&mut Table>, above: Option<&Table>) {
    let (Some(below), Some(above)) = (below, above) else { return };
    if AMOUNTS.iter().any(|key| above.contains_key(*key)) {
        AMOUNTS.iter().for_each(|key| drop(below.remove(*key)));
    }
    replace_amount(
        below.get_mut("also").and_then(Value::as_table_mut),
        above.get("also").and_then(Value::as_table),
    );
}

fn table_at<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Table> {
    key.split('.').try_fold(table, |table, part| table.get_mut(part)?.as_table_mut())
}

fn over_at<'t>(table: &'t Table, key: &str) -> Option<&'t Table> {
    key.split('.').try_fold(table, |table, part| table.get(part)?.as_table())
}

/// The same with all paths absolute; those that are relative start at `base`.
///
/// ```
/// use bitquake_config::{Layout, absolute_paths};
/// let table = toml::from_str("[fault]\nchip = 'c.csv'").unwrap();
/// let layout = Layout { paths: &[], faults: &["fault"] };
/// let found = absolute_paths(table, layout, "/chips".as_ref());
/// assert_eq!(found["fault"]["chip"].as_str(), Some("/chips/c.csv"));
/// ```
#[must_use]
pub fn absolute_paths(table: Table, layout: Layout<'_>, base: &Path) -> Table {
    let mut all = Value::Table(table);
    for key in layout.paths {
        at_each(&mut all, key, &mut |value| resolve(Some(value), base));
    }
    for key in layout.faults {
        at_each(&mut all, key, &mut |fault| resolve_fault(fault, base));
    }
    match all {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

/// Calls a function with every value that a dotted key leads to.
fn at_each(value: &mut Value, key: &str, change: &mut dyn FnMut(&mut Value)) {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Some(next) = value.get_mut(first) else { return };
    let entries = match next {
        Value::Array(entries) if rest.is_some() => entries.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    for entry in entries {
        match rest {
            Some(rest) => at_each(entry, rest, change),
            None => change(entry),
        }
    }
}

/// The files of a table of faults, of its parts and of what happens also.
fn resolve_fault(fault: &mut Value, base: &Path) {
    resolve(fault.get_mut("chip"), base);
    resolve(fault.get_mut("pattern"), base);
    resolve(fault.get_mut("shape").and_then(|shape| shape.get_mut("file")), base);
    let parts = fault.get_mut("parts").and_then(Value::as_array_mut);
    parts.into_iter().flatten().for_each(|part| resolve_fault(part, base));
    if let Some(also) = fault.get_mut("also") {
        resolve_fault(also, base);
    }
}

/// Makes a path, or each of a list, absolute; what is no text is left alone.
fn resolve(value: Option<&mut Value>, base: &Path) {
    match value {
        Some(Value::String(path)) => {
            if let Some(full) = absolute_path(base, Path::new(path.as_str())).to_str() {
                *path = full.to_owned();
            }
        }
        Some(Value::Array(paths)) => paths.iter_mut().for_each(|path| resolve(Some(path), base)),
        _ => {}
    }
}

/// Where results go if nothing is said: beside the first file, in a folder of their kind, such as `results`, by the name.
///
/// ```
/// use bitquake_config::default_dir;
/// let dir = default_dir(&["/models/campaign.toml".into(), "/layers/more.toml".into()], "results", "cnn");
/// assert_eq!(dir, std::path::Path::new("/models/results/cnn"));
/// ```
#[must_use]
pub fn default_dir(files: &[PathBuf], kind: &str, name: &str) -> PathBuf {
    let base = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    absolute_path(base, &Path::new(kind).join(name))
}

/// A path relative to a folder, from the root.
fn absolute_path(base: &Path, path: &Path) -> PathBuf {
    let joined = base.join(path);
    absolute(&joined).unwrap_or(joined)
}

/// Reads `key=value` with a dotted key; a value that is not TOML is taken as a string.
fn assignment(text: &str) -> Result<Table, ConfigError> {
    let wrong = || ConfigError::wrong("--set", format!("`{text}` is not key=value, such as run.trials=10"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (key, value) = (key.trim(), value.trim());
    let is_key =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !key.split('.').all(is_key) {
        return Err(wrong());
    }
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let is_whole = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_whole && digits.trim_start_matches('0').len() > 18 && value.parse::<i64>().is_err() {
        return Err(ConfigError::wrong(
            "--set",
            format!("{key}: whole numbers are at most 2^63 - 1, not {value}"),
        ));
    }
    toml::from_str(&format!("{key} = {value}"))
        .or_else(|_| toml::from_str(&format!("{key} = {}", Value::String(value.to_owned()))))
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_key_by_key() {
        let mut base: Table = toml::from_str("a = 1\n[t]\nx = 1\ny = [1, 2]").unwrap();
        merge(&mut base, toml::from_str("[t]\ny = [3]\nz = 4").unwrap());
        assert_eq!(base, toml::from_str("a = 1\n[t]\nx = 1\ny = [3]\nz = 4").unwrap());
    }

    #[test]
    fn an_amount_takes_the_place_of_another() {
        let mut base: Table = toml::from_str("[fault]\nrates = [0.1]\nbits = 'sign'").unwrap();
        merge_layer(&mut base, toml::from_str("[fault]\ncounts = [1]").unwrap(), &["fault"]);
        assert_eq!(base, toml::from_str("[fault]\ncounts = [1]\nbits = 'sign'").unwrap());
        merge_layer(&mut base, toml::from_str("[fault]\nbits = '3'").unwrap(), &["fault"]);
        assert_eq!(base, toml::from_str("[fault]\ncounts = [1]\nbits = '3'").unwrap());
    }

    #[test]
    fn an_amount_of_what_happens_also_is_replaced_too() {
        let mut base: Table = toml::from_str("[m.fault.also]\nrates = [0.1]").unwrap();
        merge_layer(&mut base, toml::from_str("[m.fault.also]\ncounts = [1]").unwrap(), &["m.fault"]);
        assert_eq!(base, toml::from_str("[m.fault.also]\ncounts = [1]").unwrap());
    }

    #[test]
    fn paths_follow_their_file_also_in_lists() {
        let layout = Layout { paths: &["model.path", "stage.from"], faults: &["stage.fault"] };
        let text = "[model]\npath = 'm.onnx'\n[[stage]]\nfrom = 'a'\n[[stage]]\nfrom = '/b'\nfault = { chip = 'c.csv' }";
        let table = absolute_paths(toml::from_str(text).unwrap(), layout, Path::new("/base"));
        let wanted = "[model]\npath = '/base/m.onnx'\n[[stage]]\nfrom = '/base/a'\n[[stage]]\nfrom = '/b'\nfault = { chip = '/base/c.csv' }";
        assert_eq!(table, toml::from_str(wanted).unwrap());
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("run.trials=3").unwrap(), toml::from_str("[run]\ntrials = 3").unwrap());
        assert_eq!(
            assignment("fault.rates = [1e-3]").unwrap(),
            toml::from_str("[fault]\nrates = [1e-3]").unwrap()
        );
        assert_eq!(assignment("name=my run").unwrap(), toml::from_str("name = 'my run'").unwrap());
        assert_eq!(
            assignment("model.path=a/b.onnx").unwrap(),
            toml::from_str("[model]\npath = 'a/b.onnx'").unwrap()
        );
        for (text, wanted) in
            [("seed=9223372036854775807", i64::MAX), ("seed=-9223372036854775808", i64::MIN)]
        {
            assert_eq!(assignment(text).unwrap()["seed"], Value::Integer(wanted));
        }
        for text in ["seed=9223372036854775808", "seed = +18446744073709551616", "seed=-9223372036854775809"]
        {
            let error = assignment(text).unwrap_err().to_string();
            assert!(error.contains("seed: whole numbers are at most 2^63 - 1, not "), "{error}");
        }
        for bad in ["", "x", "=3", "a..b=1", "a b=1", "[x]\ny=1"] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
    }
}
