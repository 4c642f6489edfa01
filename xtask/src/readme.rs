//! Runs the commands that the README and the guides show, and compares what they print.
//!
//! A block is run if the line before its fence is `<!-- run -->`:
//!
//! ````markdown
//! <!-- run -->
//! ```console
//! $ bitquake bits 0.5 --dtype f32
//! 0.01111110.00000000000000000000000
//! ```
//! ````
//!
//! The lines of a block run in one shell that stops at the first failure, in a temporary folder that holds links
//! to everything in the repository's root: what a command writes there is thrown away. Each line shown below a
//! command must be a line of its output, white space apart; if any of them has an `…`, only the exit code counts.

use crate::{Outcome, examples, setup};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const MARK: &str = "<!-- run -->";
const FENCE: &str = "```console";

/// What the shell prints between the outputs of two commands.
const SEPARATOR: &str = "-- bitquake readme: next command --";

/// A marked block: its commands and the line where it begins, from 1.
#[derive(Debug, PartialEq)]
struct Block {
    line: usize,
    commands: Vec<Example>,
}

/// A command as typed, and the lines of output that are shown below it.
#[derive(Debug, PartialEq)]
struct Example {
    command: String,
    shown: Vec<String>,
}

/// Builds, then runs every marked block.
pub fn run() -> Outcome {
    setup::run()?;
    examples::build()?;
    run_built()
}

/// Runs every marked block with the release build that is there, and names all that fail: a changed model changes many.
pub fn run_built() -> Outcome {
    let path = path_with(&examples::executable()?)?;
    let mut files = vec![PathBuf::from("README.md")];
    markdown_files(Path::new("docs"), &mut files)?;
    let mut failures = Vec::new();
    for file in &files {
        let at = |message: String| format!("{}: {message}", file.display());
        let text = fs::read_to_string(file).map_err(|error| at(error.to_string()))?;
        for block in parse(&text).map_err(at)? {
            println!("running {}:{}", file.display(), block.line);
            if let Err(message) = run_block(&block, &path) {
                failures.push(format!("{}:{}: {message}", file.display(), block.line));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// `PATH` with the folder of `executable` first.
fn path_with(executable: &Path) -> Outcome<OsString> {
    let here = executable.parent().map(Path::to_path_buf);
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(here.into_iter().chain(env::split_paths(&others))).map_err(|error| error.to_string())
}

/// Adds every `.md` file below `dir`, sorted; a folder that is not there has none.
fn markdown_files(dir: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    if !dir.is_dir() {
        return Ok(());
    }
    let listed = fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            markdown_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// The marked blocks of a Markdown text.
fn parse(text: &str) -> Outcome<Vec<Block>> {
    let mut lines = text.lines().enumerate();
    let mut blocks = Vec::new();
    while let Some((mark, line)) = lines.next() {
        if line.trim() != MARK {
            continue;
        }
        if lines.next().is_none_or(|(_, fence)| fence.trim() != FENCE) {
            return Err(format!("line {}: `{MARK}` is not directly before a {FENCE} block", mark + 1));
        }
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let line = mark + 2;
        blocks.push(Block {
            line,
            commands: parse_commands(&body).map_err(|error| format!("line {line}: {error}"))?,
        });
    }
    Ok(blocks)
}

/// Commands start with `$ ` and go on while a line ends in a backslash; the other lines are output.
fn parse_commands(body: &[&str]) -> Outcome<Vec<Example>> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = body.iter();
    while let Some(line) = lines.next() {
        if let Some(start) = line.strip_prefix("$ ") {
            let mut command = start.to_owned();
            while command.ends_with('\\') {
                let Some(more) = lines.next() else { break };
                command = format!("{command}\n{more}");
            }
            examples.push(Example { command, shown: Vec::new() });
        } else if !line.trim().is_empty() {
            let last = examples.last_mut().ok_or("output comes before the first `$ ` command")?;
            last.shown.push((*line).to_owned());
        }
    }
    if examples.is_empty() { Err("a marked block without a `$ ` command".to_owned()) } else { Ok(examples) }
}

/// Runs a block in a folder of its own and compares its output.
fn run_block(block: &Block, path: &OsString) -> Outcome {
    let scratch = linked_copy(Path::new("."))?;
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &script(block)]).current_dir(scratch.path()).stdin(Stdio::null());
    shell.env("PATH", path).env("BITQUAKE_README", "1");
    let output = shell.output().map_err(|error| format!("cannot start sh: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let parts: Vec<&str> = text.split(SEPARATOR).collect();
    if !output.status.success() {
        let example = block.commands.get(parts.len() - 1);
        let command = example.map_or("the last command", |example| example.command.as_str());
        let said = parts.last().copied().unwrap_or_default().trim();
        return Err(format!("`{command}` ended with {}\n{said}", output.status));
    }
    block.commands.iter().zip(parts).try_for_each(|(example, actual)| compare(example, actual))
}

/// The shell script of a block: standard error goes where standard output goes, and outputs are told apart.
fn script(block: &Block) -> String {
    let commands = block.commands.iter().map(|example| format!("{}\necho '{SEPARATOR}'\n", example.command));
    format!("exec 2>&1\n{}", commands.collect::<String>())
}

/// A temporary folder with a link to everything in `root` except builds, results and hidden files.
fn linked_copy(root: &Path) -> Outcome<tempfile::TempDir> {
    let scratch = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let root = root.canonicalize().map_err(|error| format!("cannot find {}: {error}", root.display()))?;
    let entries = fs::read_dir(&root).map_err(|error| format!("cannot read {}: {error}", root.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == "target" || name == "results" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        link(&entry.path(), &scratch.path().join(&name))?;
    }
    Ok(scratch)
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Outcome {
    std::os::unix::fs::symlink(from, to).map_err(|error| format!("cannot link {}: {error}", from.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Outcome {
    Err("the README can be checked only where there is a Unix shell".to_owned())
}

fn compare(example: &Example, actual: &str) -> Outcome {
    if example.shown.iter().any(|line| line.contains('…')) {
        return Ok(());
    }
    let actual_lines: Vec<String> = actual.lines().map(normal).collect();
    match example.shown.iter().find(|line| !actual_lines.contains(&normal(line))) {
        None => Ok(()),
        Some(line) => Err(format!(
            "`{}` does not print this line: {line}\nit prints:\n{}",
            example.command,
            actual.trim()
        )),
    }
}

/// The line with every run of white space as one space.
fn normal(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Block, Example, linked_copy, parse, run_block};
    use std::fs;

    fn example(command: &str, shown: &[&str]) -> Example {
        Example { command: command.to_owned(), shown: shown.iter().map(|line| (*line).to_owned()).collect() }
    }

    fn try_commands(commands: Vec<Example>) -> Result<(), String> {
        run_block(&Block { line: 1, commands }, &std::env::var_os("PATH").unwrap_or_default())
    }

    #[test]
    fn only_marked_blocks_are_read() {
        let text = "# Title\n```console\n$ not run\n```\n<!-- run -->\n```console\n$ one\nout  1\n\n$ two \\\n  --more\n```\n\
                    text\n<!-- run -->\n```console\n$ three\n```\n";
        let wanted = [
            Block { line: 6, commands: vec![example("one", &["out  1"]), example("two \\\n  --more", &[])] },
            Block { line: 15, commands: vec![example("three", &[])] },
        ];
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn a_mark_in_the_wrong_place_is_an_error() {
        for (text, wanted) in [
            ("<!-- run -->\n\n```console\n$ a\n```", "line 1: `<!-- run -->` is not directly before"),
            ("<!-- run -->", "line 1: `<!-- run -->` is not directly before"),
            ("<!-- run -->\n```console\n```", "line 2: a marked block without"),
            ("x\n<!-- run -->\n```console\nout\n$ a\n```", "line 3: output comes before"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn shown_lines_must_be_printed() {
        let right = example("printf 'a   b\\nc\\n'; echo d >&2", &["a b", "d"]);
        assert_eq!(try_commands(vec![right, example("echo e", &["e"])]), Ok(()));
        let error = try_commands(vec![example("echo a", &["a"]), example("echo b", &["a"])]).unwrap_err();
        assert!(error.starts_with("`echo b` does not print this line: a\nit prints:\nb"), "{error}");
        assert_eq!(try_commands(vec![example("echo b", &["a", "… and more"])]), Ok(()));
    }

    #[test]
    fn a_failing_command_is_named() {
        let commands = vec![example("true", &[]), example("echo why; false", &[]), example("true", &[])];
        let error = try_commands(commands).unwrap_err();
        assert!(error.starts_with("`echo why; false` ended with exit status: 1\nwhy"), "{error}");
    }

    #[test]
    fn commands_share_a_shell_and_leave_nothing_behind() {
        let name = format!("bitquake-readme-{}", std::process::id());
        let commands = vec![example(&format!("F={name}"), &[]), example("echo hi > $F; cat $F", &["hi"])];
        assert_eq!(try_commands(commands), Ok(()));
        assert!(!std::path::Path::new(&name).exists());
    }

    #[test]
    fn the_copy_has_links_to_all_but_builds_and_results() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["examples", "target", "results", ".git"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("README.md"), "hello").unwrap();
        let copy = linked_copy(root.path()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(copy.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["README.md", "examples"]);
        assert_eq!(fs::read_to_string(copy.path().join("README.md")).unwrap(), "hello");
    }
}
