//! The command that makes a trial's faulty model again.

use std::path::Path;

/// The `bitquake replay` command of one trial, ready to be pasted into a POSIX shell.
///
/// A directory that is not Unicode is shown with replacement characters, as a page can hold nothing else.
pub(crate) fn replay(dir: &Path, point: u32, trial: u64) -> String {
    let dir = shell_word(&dir.to_string_lossy());
    format!("bitquake replay {dir} --point {point} --trial {trial} -o faulty.onnx")
}

/// One word for the shell; quoted if a character of it could mean something to the shell.
fn shell_word(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "-_./+,:=@%".contains(c);
    // An empty path is the current directory; a dash would start an option.
    let text = match text {
        "" => ".".to_owned(),
        dashed if dashed.starts_with('-') => format!("./{dashed}"),
        other => other.to_owned(),
    };
    if text.chars().all(safe) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_quoted_when_they_must_be() {
        let cases = [
            ("results/fashion-cnn", "results/fashion-cnn"),
            ("/data/my results", "'/data/my results'"),
            ("it's", r"'it'\''s'"),
            ("a;rm -rf $HOME", "'a;rm -rf $HOME'"),
            ("~x", "'~x'"),
            ("-o", "./-o"),
            ("", "."),
            ("größe", "größe"),
        ];
        for (dir, word) in cases {
            assert_eq!(shell_word(dir), word);
        }
    }

    #[test]
    fn the_whole_command() {
        assert_eq!(
            replay(Path::new("out"), 3, 17),
            "bitquake replay out --point 3 --trial 17 -o faulty.onnx"
        );
    }
}
