//! Error against energy, from the command line.

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/small.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod small;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use common::{Done, model, run};
use serde_json::Value;
use tempfile::TempDir;

/// rate = exp(-14 energy): 1e-5 costs 0.822, 1e-3 costs 0.493.
const FILE: &str = "schema = 1\nname = \"small\"\n[curve]\nkind = \"exponential\"\nconstant = 14.0\n";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path("energy.toml"), FILE).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A small campaign, and where its results are.
    fn campaign(&self, name: &str, more: &[&str]) -> PathBuf {
        let dir = self.path(name);
        small::campaign(&dir, &[&["--set", &format!("name={name}")], more].concat()).ok();
        dir
    }

    fn energy(&self, results: &[&Path], more: &[&str]) -> Done {
        let (file, out) = (self.path("energy.toml"), self.path("energy"));
        let words = ["energy".as_ref(), file.as_os_str()];
        let results: Vec<&OsStr> = results.iter().map(|dir| dir.as_os_str()).collect();
        let more: Vec<&OsStr> = more.iter().map(OsStr::new).collect();
        run(&[&words[..], &results, &["-o".as_ref(), out.as_os_str()], &more].concat())
    }

    fn numbers(&self, results: &[&Path], more: &[&str]) -> Value {
        serde_json::from_str(&self.energy(results, &[more, &["--json"]].concat()).ok()).expect("JSON")
    }
}

const EIGHT_BITS: [&str; 2] = ["--set", "storage={ family = \"symmetric\", bits = 8 }"];

/// The bits that are read are those of the memory: 32 a weight in the file, 8 in codes, and the scales, which are spared.
#[test]
fn codes_cost_what_their_bits_cost() {
    let folder = Folder::new();
    let (floats, codes) = (folder.campaign("floats", &[]), folder.campaign("codes", &EIGHT_BITS));
    let found = folder.numbers(&[&floats, &codes], &[]);
    let contenders = found["trade"]["contenders"].as_array().unwrap();
    let of = |place: usize, key: &str| contenders[place]["reading"][key].as_f64().unwrap();
    // 66,522 floats; the memory of the second has the statistics of batch norms as they are, and a float32 scale a tensor.
    assert_eq!(of(0, "exposed") + of(0, "safe"), 2_128_704.0);
    assert!(of(1, "exposed") < 0.26 * of(0, "exposed"));
    assert!(of(1, "safe") >= 9.0 * 32.0 && of(1, "safe") % 32.0 == 0.0);
    let points = found["trade"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 6);
    let energy = points[0]["access"].as_f64().unwrap();
    assert!((energy - 1000.0_f64.ln() / 14.0).abs() < 1e-12, "{energy}");
    for point in points {
        let place = point["contender"].as_u64().unwrap() as usize;
        let wanted = of(place, "exposed") * point["access"].as_f64().unwrap() + of(place, "safe");
        assert!((point["inference"].as_f64().unwrap() - wanted).abs() < 1e-6 * wanted);
    }
    // A filter is used for each pixel, so reads for each use are many more.
    let uses = folder.numbers(&[&codes], &["--set", "access.reads=each-use"]);
    let reading = &uses["trade"]["contenders"][0]["reading"];
    assert!(reading["exposed"].as_f64().unwrap() > 20.0 * of(1, "exposed"), "{reading}");
}

#[test]
fn the_files_and_the_table_tell_the_same() {
    let folder = Folder::new();
    let dir = folder.campaign("floats", &[]);
    let out = folder.energy(&[&dir], &["--set", "access.picojoules_per_bit=0.5"]).ok();
    assert!(out.contains("rate = exp(-14 energy)") && out.contains("reliable"), "{out}");
    assert!(out.contains("lowest energy within a loss of 1.00 percentage points"), "{out}");
    let csv = std::fs::read_to_string(folder.path("energy/energy.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 4, "{csv}");
    assert!(rows[1].starts_with("floats,0.001,,0.4934"), "{csv}");
    assert!(rows[3].starts_with("floats,,,1,2128704,1064352,"), "{csv}");
    let page = std::fs::read_to_string(folder.path("energy/energy.html")).unwrap();
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 1);
    assert!(
        page.contains("in µJ") && page.contains("The lowest energy within a loss of 2.50 percentage points")
    );
}

#[test]
fn networks_that_are_judged_on_other_images_are_told() {
    let folder = Folder::new();
    let (one, other) = (folder.campaign("one", &[]), folder.campaign("other", &["--set", "data.limit=30"]));
    let told = "judged on different images";
    assert!(folder.energy(&[&one, &other], &[]).err.contains(told));
    assert!(!folder.energy(&[&one], &[]).err.contains(told));
    let loose = folder.campaign("loose", &["--set", "run.confidence=0.5"]);
    let told = "different confidences (0.5, 0.95)";
    assert!(folder.energy(&[&one, &loose], &[]).err.contains(told));
    assert!(!folder.energy(&[&one, &other], &[]).err.contains(told));
}

#[test]
fn without_results_the_curve_is_printed() {
    let folder = Folder::new();
    let out = folder.energy(&[], &[]).ok();
    assert!(out.contains("1e-6               0.9868"), "{out}");
    assert!(!folder.path("energy").exists());
}

#[test]
fn what_does_not_fit_is_told() {
    let folder = Folder::new();
    let dir = folder.campaign("floats", &[]);
    let failed = |more: &[&str], code| folder.energy(&[&dir], more).failed(code);
    assert!(
        failed(&["--set", "curve.constant=2"], 2)
            .contains("floats: none of its points (rate 1e-5, rate 1e-3)")
    );
    assert!(failed(&["--set", "curve.constant=-1"], 2).contains("constant = -1; it must be above 0"));
    assert!(failed(&["--set", "curve.konstant=1"], 2).contains("konstant"));
    assert!(failed(&["--set", "budget.loss=[2.0]"], 2).contains("[budget] loss 2"));
    assert!(folder.energy(&[&dir, &dir], &[]).failed(2).contains("two models are called `floats`"));
    assert!(folder.energy(&[&folder.path("none")], &[]).failed(3).contains("none"));
    std::fs::write(folder.path("energy.toml"), "schema = 1\n[curve]\nkind = \"table\"\nfile = \"none.csv\"")
        .unwrap();
    assert!(failed(&[], 3).contains("none.csv: cannot read the curve"));
    std::fs::write(folder.path("energy.toml"), FILE).unwrap();
    std::fs::remove_file(dir.join("trials-0.jsonl")).unwrap();
    assert!(failed(&[], 3).contains("it has no finished trials"));
    let counts = folder.campaign("counts", &["--set", "fault.counts=[1]"]);
    assert!(folder.energy(&[&counts], &[]).failed(3).contains("its points are counts"));
    let stuck =
        folder.campaign("stuck", &["--set", "fault.rates=[1e-4]", "--set", "fault.model='stuck-at-0'"]);
    assert!(folder.energy(&[&stuck], &[]).failed(3).contains("no bit errors at one rate for every bit"));
}

/// Energies of another model than the one that was measured would be wrong without anyone seeing it.
#[test]
fn a_model_that_has_changed_is_refused() {
    let folder = Folder::new();
    let copy = folder.path("copy.onnx");
    std::fs::copy(model(), &copy).unwrap();
    let path = format!("model.path={}", copy.display());
    let dir = folder.campaign("copy", &["--set", &path]);
    folder.energy(&[&dir], &[]).ok();
    let mut bytes = std::fs::read(&copy).unwrap();
    let last = bytes.len() - 1000;
    bytes[last] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    assert!(folder.energy(&[&dir], &[]).failed(3).contains("is not the model that this campaign ran"));
}
