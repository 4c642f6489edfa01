//! What tables of faults come to, and what is wrong with some.

use bitquake_fault::MODELS;
use bitquake_sample::Rate;

use super::*;

#[test]
fn faults_that_are_a_sample_of_the_bits() {
    let is_even = |text: &str| FaultConfig::from_inline(text).unwrap().is_even();
    for even in ["rates = [1e-3]", "counts = [1]", "rates = [1e-3], to_one = 0.5, to_zero = 0.5"] {
        assert!(is_even(even), "{even}");
    }
    let uneven = [
        "model = 'stuck-at-1', counts = [1]",
        "rates = [1e-3], to_one = 0.0",
        "fractions = [0.1]",
        "sites = ['w:0:1']",
        "position_rates = [0.0, 0.1]",
        "regions = [{ sites = 'w:*:1', rate = 0.1 }]",
        "counts = [1], also = { target = 'activations', rates = [1e-3] }",
    ];
    assert_eq!(uneven.into_iter().filter(|one| is_even(one)).collect::<Vec<_>>(), Vec::<&str>::new());
}

fn fault(text: &str) -> Result<FaultConfig, String> {
    let config: FaultConfig = toml::from_str(text).map_err(|error| error.to_string())?;
    config.check().map(|()| config)
}

fn models(text: &str) -> Vec<FaultModel> {
    let config = fault(text).unwrap();
    config.amounts().into_iter().map(|amount| config.model(amount).unwrap()).collect()
}

#[test]
fn every_model_of_the_table_can_be_asked_for() {
    let examples = [
        ("bit-flip", "rates = [1e-3]"),
        ("stuck-at-0", "counts = [3]"),
        ("stuck-at-1", "sites = [\"w:0:1\"]"),
        ("set-value", "value = 0.0\ncounts = [1]"),
        ("random-value", "fractions = [0.05]"),
        ("burst", "length = 3\ncounts = [2]"),
        ("map", "voltages = [0.8]\nchip = { synthetic = {} }"),
        ("dram", "structure = \"row\"\ncounts = [1]"),
        ("shape", "shape = \"block\"\nsize = [2, 3]\neffect = \"saturate\"\nrates = [1e-3, 1e-2]"),
        (
            "mixture",
            "[[parts]]\nrates = [1e-3, 1e-2]\n[[parts]]\nmodel = \"burst\"\nlength = 2\ncounts = [1]",
        ),
    ];
    for (name, keys) in examples {
        let drawn = models(&format!("model = \"{name}\"\n{keys}"));
        assert!(!drawn.is_empty() && drawn.iter().all(|model| model.name() == name), "{name}");
    }
    let known: Vec<&str> = MODELS.iter().map(|row| row.name).collect();
    assert_eq!(known, examples.map(|(name, _)| name));
}

#[test]
fn chips_of_parts_and_of_what_happens_also_count() {
    let of = |text: &str| fault(text).unwrap().chips().count();
    let also = "rates = [0.1]\n[also]\ntarget = \"inputs\"\nmodel = \"map\"\nchip = \"c.csv\"";
    let mixture =
        "model = \"mixture\"\n[[parts]]\nrates = [0.1]\n[[parts]]\nmodel = \"map\"\nchip = \"c.csv\"";
    assert_eq!([of("rates = [0.1]"), of(also), of(mixture)], [0, 1, 1]);
    // A chip somewhere else is no reason not to look at the rates.
    let wrong = fault(&also.replace("0.1", "1.5")).unwrap_err();
    assert!(wrong.contains("1.5 is not a probability"), "{wrong}");
}

#[test]
fn asymmetric_rates_are_factors_on_the_points() {
    let rate = |p| Rate::new(p).unwrap();
    assert_eq!(
        models("rates = [0.5, 0.25]\nto_zero = 0.5"),
        [
            FaultModel::Asymmetric { to_one: rate(0.5), to_zero: rate(0.25) },
            FaultModel::Asymmetric { to_one: rate(0.25), to_zero: rate(0.125) },
        ]
    );
}

#[test]
fn what_is_wrong_is_told() {
    for (text, want) in [
        ("", "[fault] needs one of rates, counts"),
        ("rates = []", "rates is empty"),
        ("sites = []", "sites is empty: give entries"),
        ("position_rates = []", "position_rates is empty"),
        ("regions = []", "regions is empty"),
        ("rates = [0.1]\nselect = []", "select is empty"),
        ("rates = [0.1]\ntarget = \"activations\"\nops = []", "ops is empty"),
        ("model = \"map\"\nvoltages = []\nchip = \"c.csv\"", "voltages is empty"),
        ("model = \"map\"\nchip = \"c.csv\"\noffset = []", "offset is empty"),
        ("rates = [0.1]\ncounts = [1]", "rates and counts: give one of them"),
        ("rates = [1.5]", "[fault] rates: "),
        ("rates = [0.1, 0.1]", "0.1 is listed twice"),
        ("rates = [0.6]\nto_one = 2", "rates times to_one"),
        ("counts = [1]\nto_one = 2.0", "go with rates"),
        ("model = \"flip\"\nrates = [0.1]", "\"flip\" is not known; known: bit-flip, "),
        ("model = \"stuck-at-0\"\nrates = [0.1]\nlength = 3", "`stuck-at-0` does not take it"),
        ("model = \"burst\"\ncounts = [1]", "needs length"),
        ("model = \"set-value\"\ncounts = [1]", "needs value"),
        ("model = \"set-value\"\ncounts = [1]\nvalue = \"12\"", "`12` is no raw word"),
        ("sites = [\"w\"]", "`w` is not a site"),
        ("pattern = \"none.json\"", "[fault] pattern none.json: cannot read"),
        ("pattern = \"none.json\"\ncounts = [1]", "counts and pattern: give one of them"),
        ("pattern = \"none.json\"\nto_one = 2.0", "go with rates"),
        ("model = \"set-value\"\ncounts = [1]\nvalue = \"full\"", "\"saturate\", or a number"),
        ("rates = [0.1]\nat_least = 2", "at_least is 1"),
        ("rates = [0.1]\ntarget = \"memory\"", "expected one of `weights`, `activations`, `inputs`"),
        ("rates = [0.1]\npersistence = \"permanent\"", "of activations and inputs"),
        ("rates = [0.1]\n[also]\nrates = [0.1]", "one of the two targets is weights"),
        ("rates = [0.1]\nbits = \"top\"", "`top` selects no bits"),
        ("rates = [0.1]\nprotect = \"top\"", "[fault] protect: `top` selects no bits"),
        ("model = \"mixture\"\n[[parts]]\nrates = [0.1]\nselect = [\"a\"]", "stand in [fault]"),
        ("model = \"mixture\"\n[[parts]]\nrates = [0.1]\n[[parts]]\nrates = [0.1, 0.2]", "one amount each"),
    ] {
        let error = fault(text).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
}
