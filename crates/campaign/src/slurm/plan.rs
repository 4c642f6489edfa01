//! What is sent to Slurm: scripts and the options of `sbatch`.

use std::path::Path;

use super::SlurmError;

/// What every task asks of the cluster. Texts are as `sbatch` takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Processors of a task, which is also its number of threads.
    pub cpus: u32,
    /// Memory of a task, such as `4G`.
    pub mem: Option<String>,
    /// Longest time of a task, such as `2:00:00`.
    pub time: Option<String>,
    /// The partition.
    pub partition: Option<String>,
    /// The account to charge.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// Features that nodes must have.
    pub constraint: Option<String>,
    /// Most tasks that run at a time.
    pub array_limit: Option<u32>,
    /// Seconds before the end of its time at which a task is told to stop.
    pub grace: u32,
    /// More arguments of `sbatch`, for all jobs.
    pub extra: Vec<String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpus: 1,
            mem: None,
            time: None,
            partition: None,
            account: None,
            qos: None,
            constraint: None,
            array_limit: None,
            grace: 60,
            extra: Vec::new(),
        }
    }
}

/// A script and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The name of the script in the folder `slurm` of the result directory.
    pub file: &'static str,
    /// The script.
    pub script: String,
    /// Arguments of `sbatch`, without the script.
    pub arguments: Vec<String>,
}

/// A job array for some shards of a campaign, and the job after it.
///
/// ```
/// use std::path::Path;
/// use bitquake_campaign::slurm::{Plan, Resources};
///
/// let (program, dir) = (Path::new("/opt/bitquake"), Path::new("/data/it's here"));
/// let plan = Plan::new("upsets", program, dir, 8, &[0, 1, 2, 5], &Resources::default())?;
/// assert!(plan.array.arguments.contains(&"--array=0-2,5".to_owned()));
/// assert!(plan.array.script.contains(r"dir='/data/it'\''s here'"));
/// # Ok::<(), bitquake_campaign::slurm::SlurmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many shards the campaign is divided into.
    pub shards: u32,
    /// The shards that are sent.
    pub sent: Vec<u32>,
    /// One task a shard.
    pub array: Job,
    /// What joins the trials after the last task; its dependency is added when the array has a number.
    pub merge: Job,
}

impl Plan {
    /// Scripts for the shards `sent` of `shards`. `program` is the executable and `dir` the result directory, both absolute; the
    /// campaign is read from [`Submission::campaign_file`](super::Submission::campaign_file).
    ///
    /// # Errors
    /// [`SlurmError::Path`] for a path that scripts or Slurm cannot hold.
    pub fn new(
        name: &str,
        program: &Path,
        dir: &Path,
        shards: u32,
        sent: &[u32],
        resources: &Resources,
    ) -> Result<Self, SlurmError> {
        let (program, dir) = (text(program)?, text(dir)?);
        let array = Job {
            file: "task.sh",
            script: task_script(name, program, dir, shards, resources),
            arguments: array_arguments(name, dir, sent, resources),
        };
        let merge = Job {
            file: "merge.sh",
            script: merge_script(name, program, dir),
            arguments: merge_arguments(name, dir, resources),
        };
        Ok(Self { shards, sent: sent.to_vec(), array, merge })
    }

    /// Both scripts and the commands that would send them, for people.
    #[must_use]
    pub fn shown(&self, dir: &Path) -> String {
        let folder = dir.join("slurm");
        let job = |job: &Job, more: &[String]| {
            let path = folder.join(job.file).display().to_string();
            let words = job.arguments.iter().chain(more).chain([&path]).map(|word| quoted(word));
            let command = words.fold("sbatch".to_owned(), |line, word| line + " " + &word);
            format!("# {path}\n{}\n# sent with\n{command}\n", job.script)
        };
        format!("{}\n{}", job(&self.array, &[]), job(&self.merge, &["--dependency=afterok:ARRAY_JOB".into()]))
    }
}

/// A path as text.
fn text(path: &Path) -> Result<&str, SlurmError> {
    let wrong = |what| SlurmError::Path { path: path.to_owned(), what };
    let text = path.to_str().ok_or_else(|| wrong("characters that are not Unicode"))?;
    match text {
        _ if text.contains('\\') => Err(wrong("a backslash, which turns off its file name patterns")),
        _ if text.contains('\n') => Err(wrong("a line break")),
        _ => Ok(text),
    }
}

/// One word of a shell command, whatever it contains.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    always_quoted(word)
}

/// As [`quoted`], in single quotes even where that is not needed.
fn always_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Numbers as `sbatch --array` takes them: `0-2,5`.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let show = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    runs.into_iter().map(show).collect::<Vec<_>>().join(",")
}

/// A file for what a job says; Slurm replaces `%a` and would replace any other `%` of the path.
fn log(dir: &str, name: &str) -> String {
    format!("--output={}/slurm/{name}", dir.replace('%', "%%"))
}

fn array_arguments(name: &str, dir: &str, sent: &[u32], resources: &Resources) -> Vec<String> {
    let limit = resources.array_limit.map_or_else(String::new, |limit| format!("%{limit}"));
    let mut arguments = vec![
        format!("--job-name=bitquake-{name}"),
        format!("--array={}{limit}", ranges(sent)),
        log(dir, "task-%a.log"),
        "--open-mode=append".into(),
        "--requeue".into(),
        format!("--signal=B:TERM@{}", resources.grace),
        format!("--cpus-per-task={}", resources.cpus),
    ];
    arguments.extend(shared_arguments(resources));
    arguments
}

fn merge_arguments(name: &str, dir: &str, resources: &Resources) -> Vec<String> {
    let mut arguments = vec![
        format!("--job-name=bitquake-{name}-merge"),
        log(dir, "merge.log"),
        "--open-mode=append".into(),
        // Otherwise it would wait for ever behind a task that failed.
        "--kill-on-invalid-dep=yes".into(),
    ];
    arguments.extend(shared_arguments(resources));
    arguments
}

fn shared_arguments(resources: &Resources) -> impl Iterator<Item = String> {
    let options = [
        ("mem", &resources.mem),
        ("time", &resources.time),
        ("partition", &resources.partition),
        ("account", &resources.account),
        ("qos", &resources.qos),
        ("constraint", &resources.constraint),
    ];
    let given = options.into_iter().filter_map(|(key, value)| Some(format!("--{key}={}", value.as_ref()?)));
    given.chain(resources.extra.iter().cloned())
}

fn task_script(name: &str, program: &str, dir: &str, shards: u32, resources: &Resources) -> String {
    format!(
        r#"#!/bin/bash
# One shard of the campaign {name}; written by `bitquake submit`.
bitquake={program}
dir={dir}
shard=$SLURM_ARRAY_TASK_ID
task="${{SLURM_ARRAY_JOB_ID}}_$shard"
size() {{ stat -c %s "$dir/trials-$shard.jsonl" 2>/dev/null || echo 0; }}

# Slurm tells this script, and not what it started, that the time is over: bitquake then finishes its running trials.
told=
run=
trap 'told=yes; again=yes; [ -z "$run" ] || kill -TERM "$run" 2>/dev/null' TERM
before=$(size)
"$bitquake" --quiet run "$dir/slurm/campaign.toml" -o "$dir" --shard "$shard/{shards}" --set run.threads={cpus} &
run=$!
again=yes
while [ -n "$again" ]; do
  again=
  wait "$run"
  code=$?
done
echo "$SLURM_ARRAY_JOB_ID $code" > "$dir/slurm/exit-$shard"

# 4: stopped, and the same command resumes. A task that is being cancelled is not running any more, and one that was not told
# to stop and recorded nothing, on a full disk for example, would get no further another time.
if [ "$code" = 4 ] && [ "$(squeue -h -j "$task" -o %T)" = RUNNING ]; then
  if [ -n "$told" ] || [ "$(size)" != "$before" ]; then
    scontrol requeue "$task" && sleep 60
  fi
fi
exit "$code"
"#,
        program = always_quoted(program),
        dir = always_quoted(dir),
        cpus = resources.cpus,
    )
}

fn merge_script(name: &str, program: &str, dir: &str) -> String {
    format!(
        r#"#!/bin/bash
# Joins the shards of the campaign {name}; written by `bitquake submit`.
dir={dir}
exec {program} merge "$dir" -o "$dir"
"#,
        program = always_quoted(program),
        dir = always_quoted(dir),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn numbers_as_ranges() {
        for (numbers, wanted) in
            [(&[3][..], "3"), (&[0, 1, 2, 3], "0-3"), (&[0, 2, 3, 7], "0,2-3,7"), (&[], "")]
        {
            assert_eq!(ranges(numbers), wanted);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for word in
            ["", "plain", "a b", "it's", "$HOME `id` \"x\"", "*", "a;b&c|d", "#x", "~", "é\ttab", "''"]
        {
            for text in [quoted(word), always_quoted(word)] {
                let out = Command::new("sh").arg("-c").arg(format!("printf %s {text}")).output().unwrap();
                assert_eq!(String::from_utf8(out.stdout).unwrap(), word, "{text}");
            }
        }
    }

    #[test]
    fn paths_that_slurm_would_change_are_refused() {
        let plan =
            |dir: &str| Plan::new("n", Path::new("/b"), Path::new(dir), 2, &[0, 1], &Resources::default());
        assert!(plan(r"/a\b").unwrap_err().to_string().contains("a backslash"));
        assert!(plan("/a\nb").is_err());
        let odd = plan("/a 100%j").unwrap();
        assert!(odd.array.arguments.contains(&"--output=/a 100%%j/slurm/task-%a.log".to_owned()));
        assert!(odd.shown(Path::new("/a 100%j")).contains("'--output=/a 100%%j/slurm/task-%a.log'"));
    }

    #[test]
    fn resources_become_arguments_of_both_jobs_where_they_concern_both() {
        let resources = Resources {
            cpus: 4,
            mem: Some("8G".into()),
            time: Some("1:00:00".into()),
            partition: Some("long".into()),
            account: Some("lab".into()),
            qos: Some("low".into()),
            constraint: Some("avx512".into()),
            array_limit: Some(3),
            grace: 90,
            extra: vec!["--nice=10".into()],
        };
        let plan = Plan::new("n", Path::new("/b"), Path::new("/d"), 9, &[0, 1, 8], &resources).unwrap();
        let both = [
            "--mem=8G",
            "--time=1:00:00",
            "--partition=long",
            "--account=lab",
            "--qos=low",
            "--constraint=avx512",
            "--nice=10",
        ];
        let has = |job: &Job, word: &str| job.arguments.iter().any(|argument| argument == word);
        for word in both {
            assert!(has(&plan.array, word) && has(&plan.merge, word), "{word}");
        }
        for word in ["--array=0-1,8%3", "--cpus-per-task=4", "--signal=B:TERM@90", "--requeue"] {
            assert!(has(&plan.array, word) && !has(&plan.merge, word), "{word}");
        }
        assert!(plan.array.script.contains(r#"--shard "$shard/9" --set run.threads=4"#));
    }
}
