//! What the table says, and what it must not say.

use bitquake_testing::assert_cases;

use super::*;

/// Why a table is no method for the small network.
fn refusal(text: &str) -> String {
    let config: MethodConfig = match toml::from_str(text) {
        Ok(config) => config,
        Err(error) => return error.message().to_owned(),
    };
    Method::new(&config, &small(), 1).map_or_else(|error| error.to_string(), |_| "no error".into())
}

#[test]
fn what_cannot_be_is_named() {
    let wcat = "quantization = { family = \"wcat\", bits = 4 }\n";
    let codes = "quantization = { family = \"symmetric\", bits = 8 }\n";
    let rows = [
        ("a key of the table", "w_mx = 0.1".to_owned(), "unknown field `w_mx`"),
        ("a key of the quantizer", "quantization = { family = \"wcat\", bitz = 4 }".into(), "unknown field `bitz`"),
        ("a key of the errors", "bit_errors = { rates = 0.1 }".into(), "unknown field `rates`"),
        ("a key of the ranges", "ranges = { rule = \"refit\", c = 1.0 }".into(), "unknown field `c`"),
        ("another rule", "ranges = { rule = \"best\" }".into(), "unknown variant `best`"),
        ("no rule", "ranges = { c = 1.0 }".into(), "missing field `rule`"),
        ("negative w_max", "w_max = -0.1".into(), "[method] w_max: a finite number above 0, not -0.1"),
        ("w_max that is no number", "w_max = nan".into(), "[method] w_max"),
        ("rate", "bit_errors = { rate = 1.5 }".into(), "[method] bit_errors.rate: a probability in 0..1, not 1.5"),
        ("no errors at all", "bit_errors = { }".into(), "give one of rate, fault and attack"),
        ("both", "bit_errors = { rate = 0.1, attack = { } }".into(), "give one of rate, fault and attack"),
        ("a fault table without an amount", "bit_errors = { fault = { model = \"stuck-at-1\" } }".into(), "needs one of"),
        ("a fault table with two", "bit_errors = { fault = { rates = [0.1, 0.2] } }".into(), "bit_errors.fault: one amount is needed here, not 2"),
        ("faults elsewhere", "bit_errors = { fault = { target = \"inputs\", rates = [0.1] } }".into(), "training perturbs weights alone"),
        ("two selections", "bit_errors = { select = [\"fc*\"], fault = { rates = [0.1] } }".into(), "select and bits stand in the table `fault`"),
        ("no population", "bit_errors = { rate = 0.1, population = 0 }".into(), "bit_errors.population: at least 1"),
        ("two kinds of noise", "p0 = 0.1\nbit_errors = { rate = 0.1 }".into(), "p0 and bit_errors exclude each other"),
        ("a curriculum without a rate", format!("{codes}bit_errors = {{ attack = {{}}, curriculum = \"step\" }}"), "step needs a rate"),
        ("tau of 1", "averaging = { tau = 1.0 }".into(), "averaging.tau: a number from 0 to below 1"),
        ("labels", "noisy_labels = -0.1".into(), "noisy_labels: a probability"),
        ("nothing to learn", format!("{codes}ranges = {{ rule = \"learn\" }}"), "rule `learn`: no tensor is quantized with wcat or lsq"),
        ("nothing to share", "ranges = { rule = \"plclip\", c = 0.1 }".into(), "rule `plclip`: no tensor is quantized with wcat"),
        ("a range of zeros", format!("{wcat}ranges = {{ rule = \"learn\" }}"), "tensor `norm.scale` of family `wcat`: its values are all 0"),
        (
            "many ranges a tensor",
            "quantization = { family = \"wcat\", granularity = { channel = 0 } }\ntensors = \"kernels\"\nranges = { rule = \"learn\" }".into(),
            "one range is learnt for each tensor",
        ),
        ("ranges that cannot be kept", "quantization = { family = \"binary\" }\nranges = { rule = \"frozen\" }".into(), "no fields of a quantizer"),
        ("globs of an override", "[quantization]\nfamily = \"wcat\"\n[[quantization.override]]\nselect = [\"head*\"]\nbits = 4".into(), "`head*` matches no tensor"),
        ("globs of the errors", format!("{codes}bit_errors = {{ rate = 0.1, select = [\"head*\"] }}"), "`head*` matches no tensor"),
        ("bits of the errors", format!("{codes}bit_errors = {{ rate = 0.1, bits = \"top\" }}"), "[method.bit_errors] bits"),
        ("bits that codes lack", format!("{codes}bit_errors = {{ rate = 0.1, bits = \"30\" }}"), "[method.bit_errors] tensor `conv.weight`"),
        ("an attack on floats", "bit_errors = { attack = { } }".into(), "tensor `conv.weight` is not quantized"),
    ];
    for (name, text, wanted) in rows {
        let got = refusal(&text);
        assert!(got.contains(wanted), "{name}: {got}");
    }
}

#[test]
fn weights_that_are_no_tensors_are_refused() {
    let mut weights = small();
    weights.tensors[1].values.pop();
    let error = Method::new(&MethodConfig::default(), &weights, 1).unwrap_err().to_string();
    assert_eq!(error, "values of tensor 1: 5 values, 6 needed");
    let mut weights = small();
    weights.tensors[3].values[17] = f32::NAN;
    let error =
        method("quantization = { family = \"normal\" }", &small()).store(&weights).unwrap_err().to_string();
    assert!(error.contains("tensor `fc.weight`: element 17 is NaN"), "{error}");
}

#[test]
fn a_table_reads_back_as_written() {
    let text = "w_max = 0.1\ntensors = \"kernels\"\nnoisy_labels = 0.1\nclustering = 0.001\n\
                quantization = { family = \"wcat\", bits = 4, range = \"mse\" }\n\
                ranges = { rule = \"learn\", clip = \"mad\", lsq = \"repository\" }\naveraging = { }\n\
                bit_errors = { rate = 0.01, combination = \"alternating\", curriculum = \"step\", clamp = inf }";
    let table = config(text);
    assert_eq!(config(&toml::to_string(&table).unwrap()), table);
    assert_eq!(table.averaging.unwrap().tau, 0.9975);
    let RangeRule::Learn {
        clip: ClipRule::Mad,
        weight_decay,
        scale_gradient: true,
        lsq: LsqForm::Repository,
        ..
    } = table.ranges
    else {
        panic!("{:?}", table.ranges)
    };
    assert_eq!(weight_decay, 0.01);
}

#[test]
fn the_clamp_by_default_is_that_of_the_average() {
    let clamp =
        |text: &str| config(&format!("bit_errors = {{ rate = 0.1{text} }}")).bit_errors.unwrap().clamp();
    assert_cases(
        [
            ("average", "", Some(0.05)),
            ("adversarial", ", combination = \"adversarial\"", None),
            ("given", ", combination = \"adversarial\", clamp = 0.2", Some(0.2)),
            ("none", ", clamp = inf", None),
        ],
        clamp,
    );
}
