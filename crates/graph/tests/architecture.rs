//! Networks by name: published counts, pinned bytes, roles, names, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod published;

use bitquake_bits::WordStore;
use bitquake_graph::architecture::{
    Activation, Architecture, ArchitectureError, FAMILIES, KEYS, Norm, PlannedTensor,
};
use bitquake_graph::{Graph, resnet};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::assert_cases;
use published::{CIFAR, MNIST, published, with_channels};
use sha2::{Digest, Sha256};

fn open(bytes: &[u8]) -> TensorFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes).unwrap();
    TensorFile::open(&path).unwrap()
}

fn parsed(options: &str) -> Architecture {
    toml::from_str(options).unwrap()
}

fn values(file: &TensorFile, name: &str) -> Vec<f32> {
    let bytes = file.words(name).unwrap().bytes().to_vec();
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn published_parameter_counts() {
    let rows = published();
    let rows = rows
        .into_iter()
        .map(|(architecture, count, _)| (format!("{architecture:?}"), architecture, Ok(count)));
    assert_cases(rows, |architecture| architecture.parameter_count());
}

#[test]
fn corruptible_weights_of_section_4_2() {
    for (name, input, weights) in [("lenet5", MNIST, 61_470), ("resnet20", CIFAR, 270_896)] {
        let tensors = Architecture::new(name, input, 10).tensors().unwrap();
        let matrices = tensors.iter().filter(|tensor| tensor.role == Role::Weight && tensor.shape.len() > 1);
        assert_eq!(matrices.map(PlannedTensor::elements).sum::<u64>(), weights, "{name}");
    }
}

#[test]
fn bytes_are_a_function_of_options_and_seed() {
    let pinned = [
        (
            Architecture::new("lenet5", MNIST, 10),
            1,
            "2e16701e6e36b3e8f6b4d6cb0c0aed348df31c050e9e7b77121fca604fe2117d",
        ),
        (
            with_channels("simplenet", 4, CIFAR, 10),
            2,
            "262e053bb29c175f034929d1d3ec6646bc7e3f41556e6102d143cf6755371d04",
        ),
        (
            parsed(
                "architecture = 'resnet20'\ninput = [3, 32, 32]\nclasses = 10\nchannels = 4\nnorm = 'rebn'\n\
                 zero_residuals = true\nactivation = { pact = { bits = 4 } }\ninit = 'xavier-uniform'\n\
                 whiten = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.2, 0.2] }",
            ),
            u64::MAX,
            "bca87f0073dda5c1fbb0571bbf738b95445e4bd475cbb5a44dc335d5388c4c65",
        ),
        (
            // Too wide for a test to build, were it not scaled down.
            with_channels("wrn28-10", 1, CIFAR, 10),
            0,
            "05d5907ab31c1d0e81d2c33e7a3331155c07515fc63ee1d9ec4d9a22cb19e3ee",
        ),
    ];
    let rows = pinned.map(|(architecture, seed, hash)| {
        assert_ne!(architecture.build(seed), architecture.build(seed ^ 1));
        (format!("{architecture:?}"), (architecture, seed), hash.to_owned())
    });
    assert_cases(rows, |(architecture, seed)| sha256(&architecture.build(seed).unwrap()));
}

#[test]
fn the_fixed_resnet20_keeps_its_bytes() {
    assert_eq!(
        sha256(&resnet::resnet20(1)),
        "fe1370b3a410161af1b2a5f0dc4d5f8f4443f9dc302909de23c0b4fa92b21a23"
    );
}

/// The planned tensors are those of the file, with the roles that whoever opens it sees.
#[test]
fn files_hold_what_is_planned() {
    for row in FAMILIES {
        for norm in [Norm::None, Norm::Rebn, Norm::FixedBn, Norm::Regn, Norm::FixedGn] {
            if norm == Norm::None && row.zero_residuals.is_some()
                || (row.name == "mlp" && norm.name().ends_with("gn"))
            {
                continue;
            }
            let mut architecture = Architecture::new(row.name, row.published_input, 3);
            (architecture.channels, architecture.norm) = (row.channels.map(|_| 2), Some(norm));
            let planned = architecture.tensors().unwrap();
            let file = open(&architecture.build(1).unwrap());
            let found: Vec<_> =
                file.tensors().iter().map(|t| (t.name.as_str(), &t.shape[..], t.role)).collect();
            let wanted: Vec<_> = planned.iter().map(|t| (t.name.as_str(), &t.shape[..], t.role)).collect();
            assert_eq!(found, wanted, "{} {norm}", row.name);
        }
    }
}

#[test]
fn constants_are_out_of_reach_of_globs() {
    let architecture = parsed(
        "architecture = 'simplenet'\nchannels = 2\ninput = [3, 32, 32]\nclasses = 10\nnorm = 'regn'\n\
         whiten = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.2, 0.2] }\nrescale = true\nlogit_scale = 2.0\n\
         activation = { pact = { bits = 4 } }",
    );
    let file = open(&architecture.build(1).unwrap());
    let reached: Vec<&str> =
        file.tensors().iter().filter(|t| t.role.is_reached_by_globs()).map(|t| t.name.as_str()).collect();
    let layers = (1..=13).flat_map(|layer| {
        [format!("conv{layer}.weight"), format!("conv{layer}.bias"), format!("norm{layer}.scale")]
            .into_iter()
            .chain([format!("norm{layer}.shift"), format!("act{layer}.alpha")])
    });
    let wanted: Vec<String> = layers.chain(["logits.weight".to_owned(), "logits.bias".to_owned()]).collect();
    assert_eq!(reached, wanted);
    assert_eq!(values(&file, "whiten.mean"), [0.5, 0.4, 0.3]);
    assert_eq!(values(&file, "act7.alpha"), [10.0]);
}

#[test]
fn names_are_those_of_layers() {
    let graph_of = |architecture: &Architecture| {
        let file = open(&architecture.build(1).unwrap());
        let graph = Graph::from_file(&file).unwrap();
        let outputs = graph.nodes().iter().flat_map(|node| node.outputs.clone());
        (outputs.collect::<Vec<_>>(), file.tensors().iter().map(|t| t.name.clone()).collect::<Vec<_>>())
    };
    let resnet = with_channels("resnet20", 2, CIFAR, 10);
    let (values, tensors) = graph_of(&resnet);
    for name in ["conv1.out", "norm1.out", "act1.out", "block2.1.conv2.out", "block2.0.shortcut.norm.out"] {
        assert!(values.iter().any(|value| value == name), "{name}: {values:?}");
    }
    assert_eq!(values.last().map(String::as_str), Some("logits"));
    for name in
        ["conv1.weight", "norm1.scale", "block2.1.conv2.weight", "block3.0.shortcut.weight", "logits.bias"]
    {
        assert!(tensors.iter().any(|tensor| tensor == name), "{name}: {tensors:?}");
    }
    // They do not depend on normalization or activation.
    let other = Architecture {
        norm: Some(Norm::Regn),
        activation: Activation::Pact { bits: 2, alpha: 1.0 },
        ..resnet
    };
    let (other, _) = graph_of(&other);
    assert!(values.iter().all(|value| other.contains(value)));
}

/// SPEC section 2.10, row 15: a stored scale of 0 would be an effective one of 1.
#[test]
fn zero_residuals_are_zero_in_every_norm() {
    let first = |norm: &str, zero: bool, name: &str| {
        let architecture = parsed(&format!(
            "architecture = 'resnet20'\ninput = [3, 32, 32]\nclasses = 10\nchannels = 4\nnorm = '{norm}'\n\
             zero_residuals = {zero}"
        ));
        values(&open(&architecture.build(1).unwrap()), name)
    };
    for (norm, zero, one) in [("bn", 0.0, 1.0), ("gn", 0.0, 1.0), ("rebn", -1.0, 0.0), ("regn", -1.0, 0.0)] {
        assert_eq!(first(norm, true, "block1.0.norm2.scale"), [zero; 4], "{norm}");
        assert_eq!(first(norm, false, "block1.0.norm2.scale"), [one; 4], "{norm}");
        for name in ["block1.0.norm1.scale", "norm1.scale"] {
            assert_eq!(first(norm, true, name), [one; 4], "{norm} {name}");
        }
    }
}

/// The last normalization of a bottleneck is the third.
#[test]
fn zero_residuals_of_bottlenecks() {
    let file = open(&with_channels("resnet50", 2, CIFAR, 10).build(1).unwrap());
    assert_eq!(values(&file, "block1.0.norm3.scale"), [-1.0; 8]);
    assert_eq!(values(&file, "block1.0.norm2.scale"), [0.0; 2]);
    assert_eq!(values(&file, "block1.0.shortcut.norm.scale"), [0.0; 8]);
}

/// Mean, standard deviation and largest magnitude of a layer's initial weights.
fn moments(options: &str, name: &str) -> (f64, f64, f64) {
    let file = open(&parsed(options).build(3).unwrap());
    let weights: Vec<f64> = values(&file, name).into_iter().map(f64::from).collect();
    let count = weights.len() as f64;
    let mean = weights.iter().sum::<f64>() / count;
    let variance = weights.iter().map(|weight| (weight - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt(), weights.iter().fold(0.0, |most, weight| most.max(weight.abs())))
}

#[test]
fn initial_weights_have_the_deviation_of_their_distribution() {
    // conv2 of VGG-11 with 16 base channels: 16 to 32 channels, 3x3, 4608 weights.
    let options = |extra: &str| {
        format!("architecture = 'vgg11'\nchannels = 16\ninput = [3, 32, 32]\nclasses = 10\n{extra}")
    };
    let (fan_in, fan_out) = (144.0_f64, 288.0_f64);
    let cases = [
        ("", (2.0 / fan_in).sqrt()),
        ("fan = 'out'", (2.0 / fan_out).sqrt()),
        ("gain = 0.5", 0.5 / fan_in.sqrt()),
        ("activation = 'tanh'", 5.0 / 3.0 / fan_in.sqrt()),
        ("init = 'kaiming-uniform'", (2.0 / fan_in).sqrt()),
        ("init = 'xavier-normal'\ngain = 1.0", (2.0 / (fan_in + fan_out)).sqrt()),
        ("init = 'xavier-uniform'\ngain = 1.0", (2.0 / (fan_in + fan_out)).sqrt()),
    ];
    assert_cases(cases.map(|(extra, wanted)| (extra, (extra, wanted), Ok(()))), |(extra, wanted)| {
        let (mean, deviation, largest) = moments(&options(extra), "conv2.weight");
        // Five standard errors of 4608 weights: 0.074 for the mean, 0.052 for the deviation. The seed is fixed.
        let fits = mean.abs() < 0.074 * wanted && (deviation / wanted - 1.0).abs() < 0.052;
        let end = if extra.contains("uniform") { 3.0_f64.sqrt() * (1.0 + 1e-7) } else { 6.0 };
        match fits && largest <= end * wanted && largest > 1.7 * wanted {
            true => Ok(()),
            false => {
                Err(format!("mean {mean}, deviation {deviation} instead of {wanted}, largest {largest}"))
            }
        }
    });
}

#[test]
fn linear_layers_go_by_fan_in() {
    let (_, deviation, _) =
        moments("architecture = 'mlp'\ninput = [1, 28, 28]\nclasses = 10\nfan = 'out'", "linear1.weight");
    assert!((deviation / (2.0_f64 / 784.0).sqrt() - 1.0).abs() < 0.02, "{deviation}");
}

/// A layer's weights do not change when other layers do.
#[test]
fn initial_weights_are_keyed_by_name() {
    let few = open(&Architecture::new("lenet5", MNIST, 2).build(9).unwrap());
    let many = open(
        &Architecture { norm: Some(Norm::Bn), ..Architecture::new("lenet5", MNIST, 10) }.build(9).unwrap(),
    );
    assert_eq!(values(&few, "conv2.weight"), values(&many, "conv2.weight"));
    assert_ne!(values(&few, "linear4.weight")[..100], values(&few, "linear3.weight")[..100]);
}

/// `message` if the error says so, else all that it says.
fn part_of<T>(result: Result<T, impl std::fmt::Display>, message: &str) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) if error.to_string().contains(message) => message.to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn bad_options_are_refused_with_key_and_bound() {
    let cases = [
        (
            "architecture = 'alexnet'",
            "architecture = \"alexnet\" is unknown; there are lenet5, lenet, mlp, simplenet",
        ),
        (
            "architecture = 'lenet5'\ninput = [1, 11, 28]",
            "input = [1, 11, 28]: must be [channels, height, width], channels from 1, height and width from 12 for lenet5",
        ),
        ("architecture = 'lenet5'\ninput = [0, 28, 28]", "channels from 1"),
        ("architecture = 'simplenet'\ninput = [3, 7, 32]", "height and width from 8"),
        ("architecture = 'vgg11'\ninput = [3, 31, 31]", "height and width from 32"),
        ("architecture = 'simplenet'\nchannels = 0", "channels = 0: must be from 1 to 65536"),
        ("architecture = 'simplenet'\nchannels = 65537", "channels = 65537: must be from 1 to 65536"),
        ("architecture = 'simplenet'\nclasses = 0", "classes = 0: must be from 2 to 65536"),
        ("architecture = 'simplenet'\nclasses = 1", "classes = 1: must be from 2"),
        ("architecture = 'simplenet'\nchannels = 60000", "an ONNX file holds at most 532676608"),
        (
            "architecture = 'mlp'\ninput = [65536, 65536, 65536]\nhidden = [65536]",
            "an ONNX file holds at most",
        ),
        ("architecture = 'mlp'\nhidden = [10, 0]", "hidden = 0: must be from 1"),
        (
            "architecture = 'mlp'\nchannels = 4",
            "channels is not taken by \"mlp\", but by lenet, simplenet, vgg11, resnet20",
        ),
        ("architecture = 'lenet5'\nhidden = [4]", "hidden is not taken by \"lenet5\", but by mlp"),
        (
            "architecture = 'simplenet'\nzero_residuals = true",
            "zero_residuals is not taken by \"simplenet\", but by resnet20, resnet32",
        ),
        (
            "architecture = 'resnet20'\nnorm = 'fixedbn'\nzero_residuals = true",
            "zero_residuals = true: must be false with norm = \"fixedbn\"",
        ),
        (
            "architecture = 'mlp'\nnorm = 'gn'",
            "norm = \"gn\": norm1 normalizes features without height and width",
        ),
        (
            "architecture = 'simplenet'\nchannels = 1",
            "norm = \"regn\": the 1 channels of norm1 fall into no groups",
        ),
        ("architecture = 'lenet5'\ngain = 0.0", "gain = 0: must be above 0"),
        ("architecture = 'lenet5'\ngain = nan", "gain = NaN: must be above 0 and finite"),
        ("architecture = 'lenet5'\nlogit_scale = -1.0", "logit_scale = -1: must be above 0"),
        (
            "architecture = 'lenet5'\nwhiten = { mean = [0.1, 0.2, 0.3], std = [0.3] }",
            "whiten mean = [0.1, 0.2, 0.3]: must be 1 numbers",
        ),
        (
            "architecture = 'lenet5'\ninput = [1, 28, 28]\nwhiten = { mean = [0.1], std = [0.0] }",
            "whiten std = 0: must be above 0",
        ),
        (
            "architecture = 'lenet5'\ninput = [1, 28, 28]\nwhiten = { mean = [inf], std = [0.1] }",
            "whiten mean = [inf]: must be finite",
        ),
        (
            "architecture = 'lenet5'\nactivation = { pact = { bits = 9 } }",
            "activation bits = 9: must be 1 to 8",
        ),
        (
            "architecture = 'lenet5'\nactivation = { dorefa = { bits = 0 } }",
            "activation bits = 0: must be 1 to 8",
        ),
        (
            "architecture = 'lenet5'\nactivation = { pact = { bits = 4, alpha = 0.0 } }",
            "activation alpha = 0: must be above 0",
        ),
    ];
    assert_cases(
        cases.map(|(options, message)| (options, (options, message), message.to_owned())),
        |(options, message)| {
            let mut architecture = parsed(options);
            let input = if options.contains("mean = [0.1, 0.2") { MNIST } else { CIFAR };
            architecture.input.get_or_insert(input);
            architecture.classes.get_or_insert(10);
            part_of(architecture.build(1), message)
        },
    );
}

#[test]
fn bad_tables_are_refused() {
    let cases = [
        ("architecture = 'lenet5'\ndropout = 0.1", "unknown field `dropout`"),
        (
            "architecture = 'lenet5'\nnorm = 'ln'",
            "unknown variant `ln`, expected one of `none`, `bn`, `rebn`",
        ),
        ("architecture = 'lenet5'\nactivation = 'gelu'", "unknown variant `gelu`"),
        (
            "architecture = 'lenet5'\nactivation = { pact = { bits = 4, beta = 1 } }",
            "unexpected keys in table: beta",
        ),
        ("architecture = 'lenet5'\nactivation = { pact = {} }", "missing field `bits`"),
        ("architecture = 'lenet5'\ninit = 'orthogonal'", "unknown variant `orthogonal`"),
        ("architecture = 'lenet5'\nwhiten = { mean = [0.5] }", "missing field `std`"),
        ("architecture = 'lenet5'\ninput = [28, 28]", "invalid length 2"),
        ("architecture = 'lenet5'\nclasses = -1", "invalid value: integer `-1`"),
        ("norm = 'bn'", "missing field `architecture`"),
    ];
    let rows = cases.map(|(options, message)| (options, (options, message), message.to_owned()));
    assert_cases(rows, |(options, message)| part_of(toml::from_str::<Architecture>(options), message));
}

#[test]
fn data_fill_in_what_a_recipe_leaves_out() {
    let open = parsed("architecture = 'lenet5'");
    assert_eq!(
        open.build(1),
        Err(ArchitectureError::Missing {
            key: "input",
            about: "channels, height and width of an image: `[3, 32, 32]`"
        })
    );
    assert_eq!(open.for_data(MNIST, 10), Ok(Architecture::new("lenet5", MNIST, 10)));
    let fixed = Architecture::new("lenet5", MNIST, 10);
    assert_eq!(fixed.for_data(MNIST, 10).as_ref(), Ok(&fixed));
    let message = |result: Result<Architecture, ArchitectureError>| result.unwrap_err().to_string();
    assert_eq!(message(fixed.for_data(CIFAR, 10)), "input = [1, 28, 28], but the data have [3, 32, 32]");
    assert_eq!(message(fixed.for_data(MNIST, 7)), "classes = 10, but the data have 7");
}

/// What the trainer writes into a snapshot is what it reads.
#[test]
fn tables_survive_writing() {
    let full = "architecture = 'resnet20'\ninput = [3, 32, 32]\nclasses = 10\nchannels = 4\nnorm = 'rebn'\nzero_residuals = true\n\
                activation = { pact = { bits = 4, alpha = 6.0 } }\ninit = 'xavier-uniform'\nfan = 'in'\ngain = 1.5\nclamp = false\n\
                whiten = { mean = [0.5, 0.4, 0.3], std = [0.2, 0.2, 0.2] }\nrescale = true\nlogit_scale = 2.0";
    for options in [full, "architecture = 'mlp'\nhidden = [3, 4]"] {
        let architecture = parsed(options);
        assert_eq!(parsed(&toml::to_string(&architecture).unwrap()), architecture);
    }
    let written: toml::Table = toml::from_str(&toml::to_string(&parsed(full)).unwrap()).unwrap();
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).filter(|&name| name != "hidden").collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    let mut found: Vec<&str> = written.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, sorted, "the table of keys names the fields");
}

#[test]
fn small_images_go_without_two_blocks_of_simplenet() {
    let convs = |input| {
        let tensors = with_channels("simplenet", 2, input, 10).tensors().unwrap();
        let of_conv = |tensor: &PlannedTensor| tensor.shape.len() == 4;
        tensors.into_iter().filter(of_conv).map(|tensor| (tensor.name, tensor.shape)).collect::<Vec<_>>()
    };
    assert_eq!(convs(CIFAR).len(), 13);
    for small in [MNIST, [1, 28, 64], [1, 64, 31]] {
        let convs = convs(small);
        assert_eq!(convs.len(), 11);
        assert_eq!(convs[7], ("conv8.weight".to_owned(), vec![16, 8, 3, 3]));
        assert_eq!(convs[8], ("conv11.weight".to_owned(), vec![64, 16, 1, 1]));
    }
}

#[test]
fn lenet_halves_while_the_next_half_is_even_and_large_enough() {
    let convs = |side| {
        let tensors = with_channels("lenet", 2, [1, side, side], 10).tensors().unwrap();
        let features =
            tensors.iter().find(|tensor| tensor.shape.first() == Some(&1024)).map(|tensor| tensor.shape[1]);
        (tensors.iter().filter(|tensor| tensor.shape.len() == 4).count(), features.unwrap())
    };
    assert_eq!(convs(28), (1, 2 * 14 * 14)); // 14 would become 7
    assert_eq!(convs(32), (3, 8 * 4 * 4)); // 4 would become 2
    assert_eq!(convs(64), (4, 16 * 4 * 4));
    assert_eq!(convs(2), (1, 2));
}
