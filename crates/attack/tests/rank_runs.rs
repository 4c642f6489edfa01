//! Whole rankings of a small network: what they leave, on any number of threads, against measured damage, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_attack::AttackError;
use bitquake_attack::rank::{RANK_SNAPSHOT_FILE, Rank, RankEnd, RankEvent, RankFile, RankSummary, read_rank};
use bitquake_bits::WordStore;
use bitquake_data::write_idx;
use bitquake_fault::FaultPattern;
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::TensorFile;
use bitquake_testing::{SplitMix64, temp_dir};

const CLASSES: u64 = 3;

/// `logits = norm(relu(x a)) b`: the hidden unit of each class adds its columns of the image up.
fn model(first: f32) -> Vec<u8> {
    let mut random = SplitMix64::new(5);
    let mut noisy = |value: f32| value + 0.05 * random.normal() as f32;
    let mut a: Vec<f32> = (0..9 * 6).map(|i| noisy(if i / 6 % 3 == i % 3 { 0.5 } else { 0.0 })).collect();
    let b: Vec<f32> = (0..6 * 3).map(|i| noisy(if i / 3 % 3 == i % 3 { 0.8 } else { -0.2 })).collect();
    a[0] += first;
    let mut model = ModelBuilder::new("small");
    let dims = [1, 3, 3].map(BuildDim::Fixed);
    model.graph().input("x", ElemType::F32, &[&[BuildDim::Named("batch")][..], &dims].concat());
    model.graph().initializer(TensorSpec::f32("a", &[9, 6], &a));
    model.graph().initializer(TensorSpec::f32("b", &[6, CLASSES], &b));
    for (name, value) in [("n.scale", 1.0), ("n.shift", 0.0), ("n.mean", 0.1), ("n.variance", 1.0)] {
        model.graph().initializer(TensorSpec::f32(name, &[6], &[value; 6]));
    }
    model.graph().node("Flatten", &["x"], &["flat"], &[]);
    model.graph().node("MatMul", &["flat", "a"], &["hidden"], &[]);
    model.graph().node("Relu", &["hidden"], &["active"], &[]);
    let norm = ["active", "n.scale", "n.shift", "n.mean", "n.variance"];
    model.graph().node("BatchNormalization", &norm, &["normed"], &[]);
    model.graph().node("MatMul", &["normed", "b"], &["logits"], &[]);
    model.graph().output("logits", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(CLASSES)]);
    model.finish()
}

/// Images of 3 x 3 pixels: a bright column whose place is the class, and noise.
fn write_images(dir: &Path) {
    let mut random = SplitMix64::new(8);
    let labels: Vec<u8> = (0..120).map(|image| image % CLASSES as u8).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for place in 0..9_u64 {
            pixels.push(random.below(120) as u8 + if place % 3 == u64::from(label) { 110 } else { 0 });
        }
    }
    write_idx(&dir.join("images"), &[120, 3, 3], &pixels).expect("a file");
    write_idx(&dir.join("labels"), &[120], &labels).expect("a file");
}

const RANK: &str = r#"
schema = 1
name = "small"
seed = 9

[model]
path = "model.onnx"

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[rank]
images = 90
batch = 32
top = 12
rankings = ["expected", "first-order", "gradient", "taylor", "trace", "sum", "max"]
"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = temp_dir();
        fs::write(dir.path().join("model.onnx"), model(0.0)).expect("a file");
        fs::write(dir.path().join("rank.toml"), RANK).expect("a file");
        write_images(dir.path());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, out: &str, settings: &[&str]) -> Result<RankFile, AttackError> {
        let mut settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        if !settings.iter().any(|text| text.starts_with("storage=")) {
            settings.push("storage={ family = 'symmetric', bits = 8 }".into());
        }
        let mut config = read_rank(&[self.path("rank.toml")], &settings)?;
        config.output.dir = Some(self.path(out));
        Ok(config)
    }

    fn rank(&self, out: &str, settings: &[&str]) -> Result<RankSummary, AttackError> {
        match self.rank_until(out, settings, &AtomicBool::new(false), |_| ())? {
            RankEnd::Finished(summary) => Ok(*summary),
            RankEnd::Stopped { products } => panic!("stopped after {products} products"),
        }
    }

    /// The observer may raise the flag.
    fn rank_until(
        &self,
        out: &str,
        settings: &[&str],
        stop: &AtomicBool,
        observer: impl FnMut(RankEvent),
    ) -> Result<RankEnd, AttackError> {
        Rank::prepare(self.config(out, settings)?)?.run(stop, observer)
    }

    fn refused(&self, settings: &[&str]) -> String {
        match self.rank("refused", settings) {
            Ok(summary) => panic!("{settings:?}: {summary:?}"),
            Err(error) => error.to_string(),
        }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The rows of a table, without its header.
    fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let text = self.text(name);
        let mut rows = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let header = rows.next().expect("a header").len();
        let rows: Vec<_> = rows.collect();
        assert!(rows.iter().all(|row| row.len() == header), "{text}");
        rows
    }
}

const NAMES: [&str; 7] = ["expected", "first-order", "gradient", "taylor", "trace", "sum", "max"];

#[test]
fn the_files_agree() {
    let place = Place::new();
    let summary = place.rank("out", &["rank.scores=all"]).expect("a summary");
    assert_eq!(summary.bits, 8 * (54 + 18 + 12), "statistics are no codes");
    for (ranking, name) in summary.rankings.iter().zip(NAMES) {
        assert_eq!((ranking.ranking, ranking.top), (name, 12));
        let scores = TensorFile::open(&place.path(&format!("out/{name}.safetensors"))).expect("scores");
        let pattern = FaultPattern::from_json(&place.text(&format!("out/{name}.json"))).expect("a pattern");
        assert_eq!(pattern.flips(), 12);
        let rows = place.rows(&format!("out/{name}.csv"));
        assert_eq!(rows.len(), 12);
        let mut last = f32::INFINITY;
        for row in rows {
            let [index, bit]: [u64; 2] = [2, 3].map(|cell| row[cell].parse().expect("a number"));
            let words = scores.words(&row[1]).expect("a tensor");
            let width = words.elements() / elements(&row[1]);
            let saved = f32::from_bits(words.get(index * width + bit).expect("a score") as u32);
            let score: f64 = row[7].parse().expect("a score");
            assert!(saved == score as f32 && saved <= last, "{name} {row:?}: {saved}");
            last = saved;
            let flips = pattern.tensors().iter().find(|flips| flips.tensor == row[1]).expect("flips");
            assert!(flips.addresses.contains(&(index * width + bit)), "{name} {row:?}");
        }
        assert_eq!(ranking.layers.iter().map(|layer| layer.in_top).sum::<u64>(), 12);
        assert_eq!(ranking.layers.iter().map(|layer| layer.bits).sum::<u64>(), summary.bits);
    }
    let trace = summary.trace.expect("a trace");
    assert!((trace.by_tensor.iter().sum::<f64>() - trace.trace).abs() < 1e-9 * trace.trace.abs());
    assert_eq!(summary.eigenpairs.len(), 4);
    assert_eq!(summary.agreement.len(), 2 * 7 * 6 / 2);
    assert_eq!(place.rows("out/agreement.csv").len(), summary.agreement.len());
    assert_eq!(place.rows("out/layers.csv").len(), 7 * 4);
    assert_eq!(place.rows("out/strata.csv").len(), 7 * 8 * 4);
    let again = read_rank(&[place.path("out/rank.toml")], &[]).expect("a configuration");
    assert_eq!(again, place.config("out", &["rank.scores=all"]).expect("a configuration"));
    let json: serde_json::Value = serde_json::from_str(&place.text("out/summary.json")).expect("JSON");
    assert_eq!((json["schema"].as_u64(), json["bits"].as_u64()), (Some(1), Some(summary.bits)));
}

fn elements(tensor: &str) -> u64 {
    match tensor {
        "a" => 54,
        "b" => 18,
        _ => 6,
    }
}

/// Agreements of one ranking with another that is the same but for its name, and with one that is known.
#[test]
fn agreement_of_rankings() {
    let place = Place::new();
    let settings = ["rank.rankings=['gradient', 'taylor', 'first-order']", "rank.turn='power'"];
    let summary = place.rank("out", &settings).expect("a summary");
    let bits: Vec<_> = summary.agreement.iter().filter(|pair| pair.things == summary.bits).collect();
    assert_eq!(bits.len(), 3);
    for pair in &bits {
        assert!(pair.tau.is_some_and(|tau| tau.abs() < 1.0), "{pair:?}");
        assert_eq!(pair.overlap_by_chance, 12.0 / summary.bits as f64);
        let tops: Vec<Vec<Vec<String>>> = [pair.first, pair.second]
            .iter()
            .map(|name| {
                place.rows(&format!("out/{name}.csv")).into_iter().map(|row| row[1..4].to_vec()).collect()
            })
            .collect();
        let both = tops[0].iter().filter(|site| tops[1].contains(site)).count();
        assert_eq!(pair.overlap, both as f64 / 12.0);
    }
    let few = place.rank("few", &[&settings[..], &["rank.agreement.bits=100"]].concat()).expect("a summary");
    for (all, few) in bits.iter().zip(few.agreement.iter().filter(|pair| pair.things == 100)) {
        let (all, few) = (all.tau.expect("a tau"), few.tau.expect("a tau"));
        // Of 100 bits, tau has a standard deviation of at most 0.1 (Kendall's bound for independent draws: 2 (1 - tau^2) / n).
        assert!((all - few).abs() < 0.5, "{all} {few}");
    }
}

#[test]
fn the_same_on_any_number_of_threads() {
    let place = Place::new();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| place.rank(&format!("on-{threads}"), &["rank.scores=all"])).expect("a summary");
    }
    let mut files = 0;
    for entry in fs::read_dir(place.path("on-1")).expect("a folder") {
        let name = entry.expect("a file").file_name();
        let name = name.to_str().expect("text");
        let [one, two, three] =
            ["on-1", "on-2", "on-3"].map(|dir| fs::read(place.path(dir).join(name)).expect("a file"));
        // The resolved configuration names its folder.
        assert!(name == "rank.toml" || (one == two && one == three), "{name}");
        files += 1;
    }
    assert_eq!(files, 7 * 3 + 5);
}

#[test]
fn batches_change_nothing_but_rounding() {
    let place = Place::new();
    let settings =
        ["rank.rankings=['expected']", "rank.curvature.diagonal=hutchinson", "rank.curvature.vectors=20"];
    let of = |out: &str, batch: &str| {
        let summary = place.rank(out, &[&settings[..], &[batch]].concat()).expect("a summary");
        let layers = &summary.rankings[0].layers;
        layers.iter().map(|layer| layer.mean.expect("a mean")).collect::<Vec<_>>()
    };
    let (whole, parts) = (of("whole", "rank.batch=90"), of("parts", "rank.batch=7"));
    assert!(
        whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-3 * a.abs().max(1e-3)),
        "{whole:?} {parts:?}"
    );
}

#[test]
fn what_is_left_out() {
    let place = Place::new();
    let names = |settings: &[&str], out: &str| {
        let summary = place.rank(out, settings).expect("a summary");
        summary.rankings[0].layers.iter().map(|layer| layer.tensor.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["rank.batch_norm=false"], "norms"), ["a", "b"]);
    assert_eq!(names(&["rank.select=['b', 'n.s*']"], "some"), ["b", "n.scale", "n.shift"]);
    assert_eq!(
        place.refused(&["rank.batch_norm=false", "rank.select=['n.*']"]),
        "[rank] select: batch_norm = false leaves out every selected tensor"
    );
    // Bits that are not ranked are no numbers in the file of scores.
    let summary = place.rank("msb", &["rank.bits=msb", "rank.select=['a']"]).expect("a summary");
    assert_eq!(summary.bits, 54);
    let scores = TensorFile::open(&place.path("msb/expected.safetensors")).expect("scores");
    let words = scores.words("a").expect("a tensor");
    let numbers = words.iter().filter(|&word| !f32::from_bits(word as u32).is_nan());
    assert_eq!(numbers.count(), 54);
}

#[test]
fn measured_damage() {
    let place = Place::new();
    let header = "part,layer,tensor,channel,bit,bits,trials,sdc_rate,sdc_lo,sdc_hi";
    let settings = ["rank.rankings=['expected', 'gradient']", "rank.select=['a', 'b']"];
    place.rank("plain", &settings).expect("a summary");
    // What is measured is the order of the ranking itself: they agree wholly.
    let strata = place.rows("plain/strata.csv");
    let of_first: Vec<_> = strata.iter().filter(|row| row[0] == "expected").collect();
    let largest = of_first.iter().map(|row| row[5].parse::<f64>().expect("a mean")).fold(0.0, f64::max);
    let mut text = format!("{header}\nwhole,,,,,,99,0.5,,\ntensor,,a,,,,9,0.9,,\n");
    for row in &of_first {
        let rate = 0.5 + 0.5 * row[5].parse::<f64>().expect("a mean") / largest;
        text += &format!("tensor_bit,,{},,{},,5,{},,\n", row[1], row[2], rate.max(0.0));
    }
    text += "tensor_bit,,other,,3,,5,0.1,,\ntensor_bit,,n.mean,,3,,0,,,\n";
    fs::write(place.path("vulnerability.csv"), &text).expect("a file");
    let measured = format!("rank.measured={}", place.path("vulnerability.csv").display());
    let summary = place.rank("measured", &[&settings[..], &[&measured]].concat()).expect("a summary");
    let with: Vec<_> = summary.agreement.iter().filter(|pair| pair.second == "measured").collect();
    assert_eq!((with.len(), with[0].things, with[0].tau, with[0].overlap), (2, 16, Some(1.0), 1.0));
    assert!(with[1].tau.is_some_and(|tau| tau < 1.0));
    assert!(place.rows("measured/strata.csv").iter().all(|row| !row[7].is_empty()));
    for (text, wanted) in [
        ("a,b\n".to_owned(), "it has no column `part`"),
        (text.replace("tensor_bit", "else"), "no row `tensor_bit` is of a ranked tensor and has trials"),
        (
            format!("{header}\ntensor_bit,,a,,9,,5,0.5,,\n"),
            "bit 9 of tensor `a` was measured, whose words here are",
        ),
        (format!("{header}\ntensor_bit,,a,,1,,5,1.5,,\n"), "line 2: bit `1` and sdc_rate `1.5`"),
    ] {
        fs::write(place.path("vulnerability.csv"), text).expect("a file");
        let said = place.refused(&[&measured]);
        assert!(said.contains("[rank] measured: ") && said.contains(wanted), "{said}");
    }
    assert!(place.refused(&["rank.measured=nothing.csv"]).contains("nothing.csv: cannot read"));
}

#[test]
fn a_folder_keeps_its_rankings() {
    let place = Place::new();
    let settings = ["rank.rankings=['first-order']"];
    place.rank("out", &settings).expect("a summary");
    let before = place.text("out/summary.json");
    place.rank("out", &settings).expect("the same again");
    assert_eq!(place.text("out/summary.json"), before);
    let error = place.rank("out", &["rank.rankings=['first-order']", "seed=1"]).expect_err("another seed");
    assert!(error.to_string().contains("holds other rankings; seed is `1` here and `9` there"), "{error}");
    fs::write(place.path("out/summary.json"), "{}").expect("a file");
    let error = place.rank("out", &settings).expect_err("no summary");
    assert!(error.to_string().contains("it is no summary of rankings"), "{error}");
}

/// Both diagonals are needed: products with random vectors, draws of labels, and iterations.
const ALL: [&str; 3] = [
    "rank.curvature.vectors=3",
    "rank.curvature.tolerance=0.0",
    "rank.eigen={ count = 2, iterations = 3, tolerance = 0.0 }",
];

/// All files of a folder, by name.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("a file"))
    };
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

/// Stopped after every product, the rankings are those of an unbroken run, to the byte; none is computed twice.
#[test]
fn rankings_that_were_stopped_go_on() {
    let place = Place::new();
    place.rank("whole", &ALL).expect("a summary");
    let mut told = Vec::new();
    let mut starts = Vec::new();
    loop {
        let stop = AtomicBool::new(false);
        let end = place.rank_until("parts", &ALL, &stop, |event| match event {
            RankEvent::Begin { .. } => {}
            RankEvent::Resumed { products } => starts.push(products),
            RankEvent::Ranked(kind) => told.push(kind.name().to_owned()),
            RankEvent::Vector { number, .. } | RankEvent::Draw { number, .. } => {
                told.push(number.to_string());
                stop.store(true, Ordering::Relaxed);
            }
            RankEvent::Iteration { number, iteration, .. } => {
                told.push(format!("{number}/{iteration}"));
                stop.store(true, Ordering::Relaxed);
            }
            RankEvent::Eigenpair { number, .. } => {
                told.push(format!("{number}/end"));
                stop.store(true, Ordering::Relaxed);
            }
        });
        match end.expect("an end") {
            RankEnd::Finished(_) => break,
            RankEnd::Stopped { products } => {
                assert_eq!(products as usize, told.len());
                assert!(place.path("parts").join(RANK_SNAPSHOT_FILE).exists());
                assert!(!place.path("parts/summary.json").exists());
            }
        }
    }
    let products = ["1", "2", "3", "1", "2", "3", "4", "1/1", "1/2", "1/end", "2/1", "2/2", "2/end"];
    assert_eq!(told, [&products[..], &NAMES].concat());
    assert_eq!(starts, (1..=13).collect::<Vec<_>>());
    let (whole, parts) = (files(&place.path("whole")), files(&place.path("parts")));
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&whole), names(&parts));
    for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
        // The configuration names the folder.
        assert!(name == "rank.toml" || whole == parts, "{name}");
    }
}

/// Stopped between two rankings, the next run makes all of them.
#[test]
fn rankings_that_were_stopped_in_between_are_made_again() {
    let place = Place::new();
    let settings = ["rank.rankings=['first-order', 'gradient']"];
    let stop = AtomicBool::new(true);
    let end = place.rank_until("out", &settings, &stop, |_| ()).expect("an end");
    assert_eq!(end, RankEnd::Stopped { products: 0 });
    assert!(place.path("out/first-order.csv").exists() && !place.path("out/gradient.csv").exists());
    assert_eq!(place.rank("out", &settings).expect("a summary").rankings.len(), 2);
}

#[test]
fn a_snapshot_of_other_rankings_or_a_damaged_one_is_refused() {
    let place = Place::new();
    let end = place.rank_until("out", &ALL, &AtomicBool::new(true), |_| ()).expect("an end");
    assert_eq!(end, RankEnd::Stopped { products: 1 });
    let error = place.rank("out", &[&ALL[..], &["seed=1"]].concat()).expect_err("another seed");
    assert!(error.to_string().contains("holds other rankings; seed is `1` here and `9` there"), "{error}");
    let path = place.path("out").join(RANK_SNAPSHOT_FILE);
    let mut bytes = fs::read(&path).expect("a snapshot");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&path, &bytes).expect("a file");
    let error = place.rank("out", &ALL).expect_err("a damaged snapshot").to_string();
    let wanted = "derivatives.safetensors: its bytes are not those that were written; without it the rankings begin anew";
    assert!(error.ends_with(wanted), "{error}");
    fs::remove_file(&path).expect("it is there");
    place.rank("out", &ALL).expect("a summary");
    assert!(!path.exists());
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Place::new();
    let cases: [(&[&str], &str); 16] = [
        (&["rank.images=0"], "[rank] images is 0; it must be at least 1"),
        (&["rank.batch=0"], "[rank] batch is 0"),
        (&["rank.top=0"], "[rank] top is 0"),
        (&["rank.curvature.vectors=0"], "[rank.curvature] vectors is 0"),
        (&["rank.curvature.draws=0"], "[rank.curvature] draws is 0"),
        (&["rank.eigen.count=0"], "[rank.eigen] count is 0"),
        (&["rank.eigen.iterations=0"], "[rank.eigen] iterations is 0"),
        (&["rank.eigen.tolerance=-1.0"], "[rank.eigen] tolerance -1 is not a number from 0"),
        (&["rank.agreement.bits=1"], "[rank.agreement] bits is 1; it must be at least 2"),
        (&["rank.rankings=[]"], "[rank] rankings is empty"),
        (&["rank.rankings=['max', 'max']"], "[rank] rankings names `max` twice"),
        (&["rank.rankings=['best']"], "unknown value `best`"),
        (&["rank.bits=nine"], "[rank] bits"),
        (&["rank.select=['c*']"], "[rank]: "),
        (
            &["rank.select=['a@scale']"],
            "[rank] select: tensor `a@scale` (f32) cannot be ranked: it is stored beside codes",
        ),
        (
            &["storage={ family = 'symmetric', protect = [{ kind = 'secded' }] }"],
            "[storage] protect and guard",
        ),
    ];
    for (settings, wanted) in cases {
        let said = place.refused(settings);
        assert!(said.contains(wanted), "{settings:?}: {said}");
    }
    assert!(!place.path("refused").exists());
    fs::write(place.path("model.onnx"), model(f32::INFINITY)).expect("a file");
    let said = place.refused(&["storage={ family = 'native' }"]);
    assert!(said.contains("the loss of the clean network is") && said.contains("`hidden`"), "{said}");
}
