//! Trainings from a recipe to their files.

mod support;

use bitquake_train::{End, Event, LogLine, Snapshot, TrainError};
use support::{Place, RECIPE};

/// Settings of methods, each with something to save of its own.
const METHODS: [&[&str]; 4] = [
    &[],
    &["optimiser.kind=adam", "train.label_smoothing=0.1"],
    &[
        "method.w_max=0.5",
        "method.quantization={ family = \"asymmetric\", bits = 8, signed = false }",
        "method.bit_errors={ rate = 0.01 }",
        "method.averaging={}",
        "model.norm=bn",
    ],
    &[
        "method.tensors=kernels",
        "method.quantization={ family = \"wcat\", bits = 4 }",
        "method.ranges={ rule = \"learn\" }",
    ],
];

#[test]
fn a_recipe_gives_models_that_know_the_classes() {
    let place = Place::new();
    let End::Finished(summary) = place.train("out", &["train.epochs=8"]).unwrap() else {
        panic!("it was not stopped")
    };
    let names: Vec<&str> = summary.models.iter().map(|model| model.name).collect();
    assert_eq!(names, ["last", "best"]);
    for model in &summary.models {
        let validation = model.validation.expect("validation images");
        assert!(validation.images == 30 && validation.error() < 0.1, "{model:?}");
        assert!(
            [&model.files.model, &model.files.storage, &model.files.codes].iter().all(|file| file.exists())
        );
    }
    for file in ["recipe.toml", "training.jsonl", "tensorboard", "last.safetensors", "best.safetensors"] {
        assert!(place.path("out").join(file).exists(), "{file}");
    }
    let losses: Vec<f64> = place
        .log("out")
        .iter()
        .filter_map(|line| match line {
            LogLine::Epoch(record) => record.clean?.loss,
            LogLine::Steps(_) => None,
        })
        .collect();
    assert!(losses.len() == 8 && losses[7] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn the_resolved_recipe_gives_the_same_training() {
    let place = Place::new();
    place.train("out", METHODS[2]).unwrap();
    let files = [place.path("out/recipe.toml")];
    let resolved = bitquake_train::read_recipe(&files, &[]).unwrap();
    assert_eq!(resolved, place.recipe("out", METHODS[2]).unwrap());
}

#[test]
fn stopped_after_any_step_it_ends_with_the_same_bits() {
    let place = Place::new();
    for (number, method) in METHODS.iter().enumerate() {
        let (straight, broken) = (format!("straight-{number}"), format!("broken-{number}"));
        place.train(&straight, method).unwrap();
        let mut stops = 0;
        loop {
            // Stops after one, two, three... steps of each run; sometimes that is the last of an epoch.
            let mut steps = 0;
            let end = place
                .train_watched(&broken, method, |event| {
                    steps += usize::from(matches!(event, Event::Step(_)));
                    steps > stops
                })
                .unwrap();
            match end {
                End::Stopped { .. } => stops += 1,
                End::Finished(_) => break,
            }
        }
        assert!(stops >= 4, "{stops}");
        for file in ["model.onnx", "best.onnx", "storage.toml", "codes.safetensors", "last.safetensors"] {
            let bytes = |out: &str| place.bytes(&format!("{out}/{file}"));
            assert!(bytes(&straight) == bytes(&broken), "method {number}: {file}");
        }
        assert_eq!(place.log(&straight), place.log(&broken));
    }
}

/// Less memory than everything takes: the same training. Less than anything takes: an error.
#[test]
fn a_limit_on_memory_changes_no_bit() {
    let place = Place::new();
    let recipe = RECIPE.replace("architecture = \"mlp\"\nhidden = [12]", "architecture = \"resnet20\"");
    std::fs::write(place.path("recipe.toml"), recipe).unwrap();
    // All of it takes 25 MiB, of which 17 are sums of gradients.
    let settings = ["train.epochs=2", "train.batch=90"];
    let with = |memory| [&settings[..], &[memory]].concat();
    place.train("free", &settings).unwrap();
    place.train("limited", &with("train.memory=22")).unwrap();
    for file in ["model.onnx", "best.onnx", "last.safetensors"] {
        assert!(place.bytes(&format!("free/{file}")) == place.bytes(&format!("limited/{file}")), "{file}");
    }
    assert_eq!(place.log("free"), place.log("limited"));
    let error = place.train("little", &with("train.memory=2")).unwrap_err().to_string();
    let least: usize = error
        .split_once("a pass of 90 images works with at least ")
        .and_then(|(_, rest)| rest.split_once(" MiB, the limit is 2 MiB")?.0.parse().ok())
        .unwrap_or_else(|| panic!("{error}"));
    assert!((18..=22).contains(&least), "{error}");
}

#[test]
fn a_finished_training_only_writes_its_models_again() {
    let place = Place::new();
    place.train("out", &[]).unwrap();
    let before = (place.bytes("out/model.onnx"), place.bytes("out/training.jsonl"));
    let mut steps = 0;
    place
        .train_watched("out", &[], |event| {
            steps += usize::from(!matches!(event, Event::Begin(_)));
            false
        })
        .unwrap();
    assert_eq!(steps, 0);
    assert!(before == (place.bytes("out/model.onnx"), place.bytes("out/training.jsonl")));
}

#[test]
fn the_snapshot_of_another_recipe_is_refused_with_the_difference() {
    let place = Place::new();
    place.train("out", &[]).unwrap();
    for (setting, wanted) in [
        ("seed=4", "seed is `4` here and `3` there"),
        ("train.batch=8", "train batch is `8` here and `16` there"),
        ("optimiser.rate=0.2", "optimiser rate is `0.2` here and `0.1` there"),
        ("data.preprocess.scale=128.0", "data preprocess is"),
    ] {
        let error = place.train("out", &[setting]).unwrap_err().to_string();
        assert!(error.contains("the training of another recipe") && error.contains(wanted), "{error}");
    }
    // What decides nothing may change.
    place.train("out", &["name=other", "train.log_every=7", "output.keep_all=true"]).unwrap();
}

#[test]
fn a_diverging_loss_keeps_the_last_snapshot() {
    let place = Place::new();
    let settings =
        ["optimiser={ rate = 1e30, momentum = 0.0 }", "schedule={ kind = \"constant\", warm_up = 0.0 }"];
    let error = place.train("out", &settings).unwrap_err();
    let text = error.to_string();
    let TrainError::Diverged { epoch: 0, step, place: Some(layer), .. } = error else { panic!("{text}") };
    assert!((1..4).contains(&step) && !layer.is_empty(), "{text}");
    assert!(!place.path("out/last.safetensors").exists(), "no epoch was finished");

    // Later: the rate of the second epoch is too large.
    let settings = [
        "optimiser={ rate = 1e25, momentum = 0.0 }",
        "schedule={ milestones = [0.34], factor = 1e10 }",
        "optimiser.override=[{ select = [\"*\"], rate_factor = 1e-26 }]",
    ];
    let error = place.train("later", &settings).unwrap_err().to_string();
    assert!(error.contains("diverged") && error.contains("epoch 1"), "{error}");
    let kept = Snapshot::read(&place.path("later/last.safetensors")).unwrap().expect("that of epoch 0");
    assert_eq!(kept.header.progress.epoch, 1);
    assert!(kept.tensors.iter().flat_map(|tensor| &tensor.values).all(|value| value.is_finite()));
}

#[test]
fn what_does_not_fit_is_told_before_training() {
    let place = Place::new();
    for (settings, wanted) in [
        (&["model.classes=3"][..], "label 3, but there are 3 classes"),
        (&["model.input=[1, 9, 9]"], "[model]"),
        (&["data.split.validation=0.001"], "data.split.validation is 0.001, which is none of 120 images"),
        (&["data.split.validation=120"], "leaves none for training"),
        (&["data.images=nothing"], "nothing"),
        (&["train.batch=500", "train.last_batch=drop"], "make no batch of 500"),
        (&["train.epocs=3"], "unknown key `epocs`; did you mean `epochs`?"),
        (&["model.chanels=3"], "unknown key `chanels`; did you mean `channels`?"),
        (&["data.split.tests=3"], "unknown key `tests`; did you mean `test`?"),
        (&["method.w_mx=1"], "unknown key `w_mx`; did you mean `w_max`?"),
        (&["train.epochs=0"], "epochs 0 leaves none"),
        (&["train.batch=0"], "batch is 0"),
        (&["train.memory=0"], "memory is 0"),
        (
            &["train.memory=9", "model.activation=sigmoid"],
            "memory cannot be limited: burn computes the network",
        ),
        (&["train.label_smoothing=1.0"], "label_smoothing 1"),
        (&["train.device=tpu"], "tpu"),
        (&["schema=2"], "schema 2 is not known"),
        (&["model.path=x.onnx"], "not both"),
        (&["method.bit_errors={ rate = 0.1, fault = { counts = [1] } }"], "[method"),
        (&["optimiser.override=[{ select = [\"nothing\"] }]"], "[[optimiser.override]]"),
        (&["augment=[{ crop = 99 }]"], "augment"),
    ] {
        let error = place.train("out", settings).unwrap_err().to_string();
        assert!(error.contains(wanted), "{settings:?}: {error}");
        assert!(!place.path("out").exists(), "{settings:?}");
    }
}

#[test]
fn every_epoch_is_kept_if_asked() {
    let place = Place::new();
    place.train("out", &["output.keep_all=true"]).unwrap();
    for epoch in 0..3 {
        assert!(place.path(&format!("out/epoch-000{epoch}.safetensors")).exists());
    }
}
