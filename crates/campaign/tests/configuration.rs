//! Wrong configurations and what is said about them.

use std::path::PathBuf;

use bitquake_campaign::{Campaign, Config, read_config, resolved_toml};

fn example() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/fashion-cnn/campaign.toml"))
}

fn with(settings: &[&str]) -> Result<Config, String> {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    read_config(&[example()], &settings).map_err(|error| error.to_string())
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("run.trails=3", "unknown key `trails`; did you mean `trials`?"),
        ("fautl.rates=[0.1]", "unknown key `fautl`; did you mean `fault`?"),
        ("data.preprocess.scales=3", "unknown key `scales`; did you mean `scale`?"),
        ("fault.rates=[1.5]", "rate 1.5 is not a probability in [0, 1]"),
        ("fault.rates=[-1e-9]", "rate -0.000000001 is not a probability"),
        ("fault.rates=[nan]", "rate NaN is not a probability"),
        ("fault.rates=[]", "there is nothing to run"),
        ("fault.rates=[0.1, 0.1]", "0.1 is listed twice"),
        ("fault.rates='many'", "fault.rates: invalid type: string \"many\", expected a list"),
        ("fault.length=3", "model `bit-flip` does not take it"),
        ("fault.model=brust", "[fault] model = \"brust\" is not known; known: bit-flip"),
        ("fault.model=burst", "needs length"),
        (
            "fault.target=memory",
            "fault.target: unknown value `memory`. Known here: weights, activations, inputs",
        ),
        ("fault.persistence=permanent", "persistence is of activations and inputs"),
        ("fault.ops=['Relu']", "ops goes with target"),
        ("fault.also={ rates = [0.1] }", "one of the two targets is weights"),
        ("fault.also={ target = 'inputs', rates = [0.1, 0.2] }", "2 amounts for 6 points"),
        ("fault.bits=exponents", "[fault] bits"),
        ("fault.bits=9..3", "[fault] bits"),
        ("storage.family=symetric", "storage: unknown value `symetric`; did you mean `symmetric`?"),
        ("storage={ family = 'symmetric', bits = 40 }", "[storage]: "),
        ("storage.bitz=3", "unknown key `bitz`; did you mean `bits`?"),
        (
            "storage.override=[{ select = ['*'], bits = 4 }]",
            "[[storage.override]]: native words take no other",
        ),
        ("storage.override=[{ select = ['*'], family = 'bfa', bits = 0 }]", "[[storage.override]]: "),
        ("run.trials=0", "trials is 0"),
        ("run.trials=-1", "run.trials: invalid value: integer `-1`, expected a whole number from 0"),
        ("run.trials=9000000000000000000", "trials 9000000000000000000 is more than 4294967296"),
        ("run.threads=1000000", "threads 1000000 is more than 1024"),
        ("run.batch=0", "batch is 0"),
        ("run.confidence=95", "confidence 95 is not between 0 and 1"),
        ("run.confidence=nan", "confidence NaN is not between 0 and 1"),
        ("run.confidence=0.9999999999999999", "is above 1 - 1e-9"),
        ("run.stop={ half_width = 0.1, confidence = 0.9999999999999999 }", "is above 1 - 1e-9"),
        ("run.margin=2", "margin 2 is not a fraction"),
        ("run.stop={}", "stop needs half_width, relative or max_seconds"),
        ("run.stop={ half_width = 0.0 }", "half_width 0 is not a positive number"),
        ("run.stop={ half_widht = 0.1 }", "did you mean `half_width`?"),
        ("run.stop={ half_width = 0.1, metric = 'loss' }", "metric `loss` has no bounds"),
        ("run.stop={ half_width = 0.1, metric = 'precision' }", "metric `precision` is not known"),
        ("run.stop={ half_width = 0.1, metric = 'exceeded' }", "metric `exceeded` goes with [outcome]"),
        ("run.stop={ half_width = nan }", "half_width NaN is not a positive number"),
        ("run.stop={ half_width = 0.1, max_trials = 0 }", "max_trials 0 is not in 1..="),
        ("run.images=0", "images is 0"),
        ("run.images=auto", "needs stop"),
        ("run.images=many", "run.images"),
        ("run.sampling=importance", "sampling goes with single upsets of weights"),
        ("run.reuse.prefiks=false", "did you mean `prefix`?"),
        ("outcome={ distance = 'max_abs', threshold = nan }", "threshold NaN is not a number"),
        ("outcome={ distance = 'max_abs', threshold = -1.0 }", "threshold -1 is no distance"),
        ("outcome={ distance = 'cosine', threshold = 5 }", "threshold 5 is no cosine similarity"),
        ("fault.select=[]", "[fault] select is empty"),
        ("fault.sites=[]", "[fault] sites is empty"),
        ("report.raw_fit_per_mbit=-1", "raw_fit_per_mbit -1 is not a number from 0"),
        ("report.raw_fit_per_mbit=1e308", "is not a number from 0 to 1e18"),
        ("report.raw=1", "did you mean `raw_fit_per_mbit`?"),
        ("schema=2", "schema 2 is not known"),
        ("name=../evil", "name `../evil` is not made of"),
        ("data.limit=0", "limit"),
        ("data.preprocess.std=[0.0]", "std"),
        ("data.format=image-folder", "data.labels has no meaning for format image-folder"),
        ("output.compat=other", "output.compat: unknown value `other`"),
        ("run", "is not key=value"),
    ];
    let mut wrong = Vec::new();
    for (setting, wanted) in cases {
        match with(&[setting]) {
            Ok(_) => wrong.push(format!("{setting}: accepted")),
            Err(said) if !said.contains(wanted) => wrong.push(format!("{setting}: {said}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_the_files_show_is_named_too() {
    let cases = [
        ("model.path=/nowhere/x.onnx", "/nowhere/x.onnx"),
        ("data.images=/nowhere/images", "/nowhere/images"),
        ("data.limit=2001", "2001"),
        ("fault.select=['cnov*']", "`cnov*` matches no tensor"),
        ("fault.select=['*', '!*']", "leaves no tensor"),
        ("fault.bits='32'", "conv1.weight"),
    ];
    for (setting, wanted) in cases {
        let config = with(&[setting]).expect("a valid configuration");
        let said = Campaign::prepare(config).err().expect("an error").to_string();
        assert!(said.contains(wanted), "{setting}: {said}");
    }
    let mut too_many = with(&[]).expect("valid");
    (too_many.fault.rates, too_many.fault.counts) = (None, Some(vec![1_000_000_000]));
    let said = Campaign::prepare(too_many).err().expect("an error").to_string();
    assert!(said.contains("1000000000 bits to hit, but the fault space has only"), "{said}");
}

#[test]
fn later_files_and_settings_win_and_paths_follow_their_file() {
    let temp = tempfile::tempdir().expect("a folder");
    let other = temp.path().join("more.toml");
    std::fs::write(&other, "[run]\ntrials = 7\nbatch = 3\n[output]\ndir = 'here'\n").expect("written");
    let config = read_config(&[example(), other], &["run.batch=5".into()]).expect("valid");
    assert_eq!((config.run.trials, config.run.batch, config.seed), (7, 5, 42));
    assert_eq!(config.output.dir, Some(temp.path().join("here")));
    assert!(config.model.path.is_absolute() && config.model.path.ends_with("fashion_cnn.onnx"));
}

#[test]
fn files_of_faults_lie_beside_the_campaign() {
    let temp = tempfile::tempdir().expect("a folder");
    let source = example().with_file_name("../patterns/systolic-array-example.json");
    std::fs::copy(source, temp.path().join("pattern.json")).expect("copied");
    let shape = "model = 'shape'\ncounts = [1]\nshape = { file = 'pattern.json' }\n";
    let file = |text: &str| {
        let path = temp.path().join("faults.toml");
        std::fs::write(&path, text).expect("written");
        let config = read_config(&[example(), path], &[]);
        resolved_toml(&config.expect("the file is found")).expect("TOML")
    };
    let wanted = format!("file = \"{}\"", temp.path().join("pattern.json").display());
    let alone = format!("[fault]\n{shape}");
    let part = format!("[fault]\nmodel = 'mixture'\n[[fault.parts]]\n{shape}");
    let also = format!("[fault]\nrates = [1e-6]\n[fault.also]\ntarget = 'activations'\n{shape}");
    for text in [alone, part, also] {
        let resolved = file(&text);
        assert!(resolved.contains(&wanted), "{text} gives {resolved}");
    }
    let chip =
        "[fault]\ntarget = 'activations'\ncounts = [1]\n[fault.also]\nmodel = 'map'\nchip = 'chip.csv'\n";
    let wanted = format!("chip = \"{}\"", temp.path().join("chip.csv").display());
    let resolved = file(chip);
    assert!(resolved.contains(&wanted), "{resolved}");
}

#[test]
fn files_of_data_lie_beside_the_campaign() {
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("data.toml");
    let text = "[data]\nformat = 'cifar-binary'\nimages = 'one.bin'\nmore = ['two.bin', '/three.bin']\n";
    std::fs::write(&path, text).expect("written");
    let mut layers = vec![path];
    // The example names a file of labels, which CIFAR records have within.
    let example = std::fs::read_to_string(example()).expect("the example");
    let rest: Vec<&str> = example.lines().filter(|line| !line.starts_with("labels")).collect();
    let other = temp.path().join("rest.toml");
    std::fs::write(&other, rest.join("\n")).expect("written");
    layers.insert(0, other);
    let data = read_config(&layers, &[]).expect("the files are not looked at").data;
    assert_eq!(data.images, temp.path().join("one.bin"));
    assert_eq!(data.more, [temp.path().join("two.bin"), PathBuf::from("/three.bin")]);
}

#[test]
fn the_resolved_file_gives_the_same_campaign() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = with(&["data.limit=10"]).expect("valid");
    let path = temp.path().join("campaign.toml");
    let text = resolved_toml(&config).expect("TOML");
    for key in ["threads", "confidence", "margin", "family", "layout", "select"] {
        assert!(text.contains(key), "default `{key}` is not visible in\n{text}");
    }
    std::fs::write(&path, text).expect("written");
    assert_eq!(read_config(&[path], &[]).expect("valid"), config);
}

#[test]
fn the_identity_knows_what_decides_results_and_nothing_else() {
    let id = |settings: &[&str]| {
        Campaign::prepare(with(settings).expect("valid")).expect("a campaign").0.identity().id()
    };
    let plain = id(&[]);
    assert_eq!(plain.len(), 64);
    for same in ["name=other", "run.threads=7", "run.trials=3", "run.margin=0.5", "output.dir=elsewhere"] {
        assert_eq!(plain, id(&[same]), "{same}");
    }
    for other in
        ["seed=1", "data.limit=10", "data.preprocess.scale=1.0", "fault.rates=[0.5]", "fault.bits=sign"]
    {
        assert_ne!(plain, id(&[other]), "{other}");
    }
    let copy = tempfile::tempdir().expect("a folder");
    let moved = copy.path().join("renamed.onnx");
    std::fs::copy(with(&[]).expect("valid").model.path, &moved).expect("copied");
    assert_eq!(plain, id(&[&format!("model.path={}", moved.display())]), "a path is no part of it");
}
