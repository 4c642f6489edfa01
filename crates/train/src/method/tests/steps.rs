//! Steps: passes, gradients, learnt ranges, curricula, snapshots.

use super::*;

fn losses(clean: f64, perturbed: Option<f64>) -> StepLosses {
    StepLosses { clean: Some(clean), perturbed }
}

/// What an optimiser of plain gradient descent does.
fn descend(method: &mut Method, weights: &mut Weights, update: &Update, rate: f32) {
    for (tensor, gradient) in weights.tensors.iter_mut().zip(&update.gradients) {
        tensor.values.iter_mut().zip(gradient).for_each(|(value, g)| *value -= rate * g);
    }
    for range in method.ranges() {
        range.value -= rate * range.rate_factor * (range.gradient + range.weight_decay * range.value);
    }
}

/// One step with gradients that hang on the levels, as those of a network do.
fn step(method: &mut Method, weights: &mut Weights, number: u64) -> Update {
    method.project(weights);
    let stored = method.store(weights).unwrap();
    let run = |levels: &Levels| {
        let of = |values: &Vec<f32>| values.iter().map(|value| (value * 3.0).sin()).collect();
        let loss = levels.tensors.iter().flatten().map(|value| f64::from(value.abs())).sum::<f64>() / 100.0;
        Half { loss, gradients: levels.tensors.iter().map(of).collect(), statistics: Vec::new() }
    };
    let plan = method.plan();
    let mut passes: Vec<Half> = plan.clean.then(|| run(stored.levels())).into_iter().collect();
    passes.extend((0..plan.perturbed).map(|k| run(&method.perturbed(&stored, weights, number, k).unwrap())));
    let (clean, perturbed) = passes.split_at(usize::from(plan.clean));
    let mean = perturbed.iter().map(|half| half.loss).sum::<f64>() / perturbed.len() as f64;
    let losses = StepLosses {
        clean: clean.first().map(|half| half.loss),
        perturbed: (!perturbed.is_empty()).then_some(mean),
    };
    let last = passes.pop().unwrap();
    let update = method.combine(&passes, last, &stored, weights).unwrap();
    descend(method, weights, &update, 0.05);
    method.finish_step(losses, weights);
    update
}

#[test]
fn plain_training_has_one_clean_pass_and_its_gradient() {
    let weights = small();
    let mut method = method("", &weights);
    assert_eq!(method.plan(), Passes { clean: true, perturbed: 0, attack: false, again: false });
    let stored = method.store(&weights).unwrap();
    let clean = half(&weights, 1.0, 0.7);
    let update = method.combine(&[], clean.clone(), &stored, &weights).unwrap();
    assert_eq!(update, Update { gradients: clean.gradients, penalty: 0.0, statistics: Vec::new() });
    let masters: Vec<Vec<f32>> = weights.tensors.iter().map(|tensor| tensor.values.clone()).collect();
    assert_eq!(bits(&stored.levels().tensors), bits(&masters));
}

#[test]
fn randbet_averages_and_clamps() {
    let weights = small();
    let mut method = method(&RANDBET.replace("rate", "population = 3\nrate"), &weights);
    assert_eq!(method.plan().perturbed, 3);
    let stored = method.store(&weights).unwrap();
    let passes = [0.3, 0.01, 9.0].map(|g| half(&weights, 1.0, g));
    let last = half(&weights, 1.0, -0.02);
    let update = method.combine(&passes, last.clone(), &stored, &weights).unwrap();
    let wanted = (0.3 + 0.01 + 0.05 - 0.02) / 4.0;
    assert!(update.gradients.iter().flatten().all(|g| (g - wanted).abs() < 1e-7));
    let error = method.combine(&passes[..2], last.clone(), &stored, &weights).unwrap_err().to_string();
    assert!(error.contains("plan of the step"), "{error}");
    for place in 0..4 {
        let mut all: Vec<Half> = passes.iter().chain([&last]).cloned().collect();
        all[place].gradients[3].pop();
        let last = all.pop().unwrap();
        let error = method.combine(&all, last, &stored, &weights).unwrap_err().to_string();
        assert_eq!(error, "gradient of tensor 3: 539 values, 540 needed");
    }
}

#[test]
fn the_curriculum_turns_perturbed_passes_on() {
    let mut weights = small();
    let mut method = method(&RANDBET.replace("always", "average"), &weights);
    let mut plans = vec![method.plan().perturbed];
    for (l, perturbed) in [(2.3, None), (2.0, None), (1.9, Some(2.5)), (1.2, None), (0.9, Some(2.5))] {
        method.finish_step(losses(l, perturbed), &mut weights);
        plans.push(method.plan().perturbed);
    }
    assert_eq!(plans, [0, 0, 1, 0, 1, 1]);
}

/// Noise in every forward pass (SPEC 4.1): no clean pass, no clamp.
#[test]
fn noise_aware_training_has_perturbed_passes_alone() {
    let mut weights = small();
    let mut method =
        method("tensors = \"kernels\"\np0 = 0.01\nquantization = { family = \"wcat\", bits = 4 }", &weights);
    assert_eq!(method.plan(), Passes { clean: false, perturbed: 1, attack: false, again: false });
    let stored = method.store(&weights).unwrap();
    assert!(method.perturbed(&stored, &weights, 0, 0).unwrap().flips > 0);
    let update = method.combine(&[], half(&weights, 1.0, 7.0), &stored, &weights).unwrap();
    assert!(update.gradients.iter().flatten().all(|g| *g == 7.0));
    method.finish_step(StepLosses { clean: None, perturbed: Some(9.0) }, &mut weights);
    assert_eq!(method.plan().perturbed, 1);
}

#[test]
fn adversarial_training_skips_the_clean_pass_where_nothing_needs_it() {
    let text = |statistics: &str| {
        format!(
            "statistics = \"{statistics}\"\nbit_errors = {{ rate = 0.1, combination = \"adversarial\", curriculum = \"always\" }}"
        )
    };
    assert!(method(&text("clean"), &small()).plan().clean);
    assert!(!method(&text("perturbed"), &small()).plan().clean);
    assert_eq!(method(&text("clean"), &small()).rate(), Some(0.1));
}

#[test]
fn adversarial_training_uses_the_perturbed_gradients_alone() {
    let weights = small();
    let text = "bit_errors = { rate = 0.1, combination = \"adversarial\", curriculum = \"always\", population = 2, clamp = 0.5 }";
    let mut method = method(text, &weights);
    assert!(method.plan().clean);
    let stored = method.store(&weights).unwrap();
    let passes = [0.3, 0.1].map(|g| half(&weights, 1.0, g));
    let update = method.combine(&passes, half(&weights, 1.0, 7.0), &stored, &weights).unwrap();
    assert!(update.gradients.iter().flatten().all(|g| *g == (0.1 + 0.5) / 2.0));
}

/// What a caller that keeps the weights elsewhere need not bring back.
#[test]
fn only_averages_and_alternating_steps_end_with_the_weights() {
    let alternating = "bit_errors = { rate = 0.1, combination = \"alternating\", curriculum = \"always\" }";
    let rows = [(RANDBET, false), ("", false), ("averaging = { tau = 0.9 }", true), (alternating, true)];
    for (text, wanted) in rows {
        let mut weights = small();
        let mut method = method(text, &weights);
        for _ in 0..3 {
            assert_eq!(method.finishes_with_weights(), wanted, "{text}");
            let mut others = weights.clone();
            others.tensors.iter_mut().for_each(|tensor| tensor.values.fill(99.0));
            let (before, mut other) = (others.clone(), method.clone());
            method.finish_step(losses(1.0, Some(1.0)), &mut weights);
            other.finish_step(losses(1.0, Some(1.0)), &mut others);
            let is_same = method.state().unwrap() == other.state().unwrap() && others == before;
            assert_eq!(is_same, !wanted, "{text}");
        }
    }
}

#[test]
fn wcat_ranges_are_learnt_and_stay_positive() {
    let mut weights = small();
    let text = "tensors = \"kernels\"\nquantization = { family = \"wcat\", bits = 4, range = \"mse\" }\n\
                ranges = { rule = \"learn\", clip = \"pwl\", lowest = 0.5 }";
    let mut method = method(text, &weights);
    let names: Vec<_> = method.ranges().iter().map(|range| range.name.clone()).collect();
    assert_eq!(names, ["conv.weight", "fc.weight"]);
    let first = method.ranges()[0].clone();
    assert!((first.lower - 0.5 * first.value).abs() < 1e-9 && first.weight_decay == 0.01);
    let stored = method.store(&weights).unwrap();
    assert_eq!(stored.range("conv.weight"), Some((-first.value, first.value)));

    let clean = half(&weights, 1.0, 1.0);
    let update = method.combine(&[], clean.clone(), &stored, &weights).unwrap();
    let values = &weights.tensors[0].values;
    let above = values.iter().filter(|value| **value > first.value).count() as f64;
    let below = values.iter().filter(|value| **value < -first.value).count() as f64;
    let wanted = (above - below) / (values.len() as f64).sqrt();
    assert!((f64::from(method.ranges()[0].gradient) - wanted).abs() < 1e-6);
    let zeros = update.gradients[0].iter().filter(|g| **g == 0.0).count() as f64;
    assert_eq!(zeros, above + below, "pwl: no gradient outside");
    assert!(update.gradients[1].iter().all(|g| *g == 1.0), "a bias is no wcat tensor");

    method.ranges()[0].value = -3.0;
    method.finish_step(losses(1.0, None), &mut weights);
    assert_eq!(method.ranges()[0].value, first.lower);
    method.store(&weights).unwrap();
}

#[test]
fn plclip_ranges_follow_the_largest_magnitudes() {
    let mut weights = small();
    let text = "tensors = \"kernels\"\nquantization = { family = \"wcat\", bits = 8 }\nranges = { rule = \"plclip\", c = 0.1 }";
    let mut method = method(text, &weights);
    let mut ranges = |conv: f32, fc: f32| {
        weights.tensors[0].values.iter_mut().for_each(|value| *value = value.clamp(-conv, conv));
        weights.tensors[3].values.iter_mut().for_each(|value| *value = value.clamp(-fc, fc));
        weights.tensors[0].values[0] = conv;
        weights.tensors[3].values[0] = -fc;
        let stored = method.store(&weights).unwrap();
        ["conv.weight", "fc.weight"].map(|name| stored.range(name).unwrap().1)
    };
    assert_eq!(ranges(0.8, 0.4), [0.1, 0.05]);
    assert_eq!(ranges(0.1, 0.8), [0.02, 0.1], "refreshed before each forward pass");
}

#[test]
fn alternating_training_takes_two_steps_and_keeps_the_range() {
    let mut weights = small();
    let text = "quantization = { family = \"asymmetric\" }\n\
                bit_errors = { rate = 0.01, combination = \"alternating\", start_loss = 1.75 }";
    let mut method = method(text, &weights);
    assert_eq!(method.plan(), Passes { clean: true, perturbed: 0, attack: false, again: false });
    method.finish_step(losses(1.0, None), &mut weights);
    assert_eq!(method.plan(), Passes { clean: true, perturbed: 0, attack: false, again: true });

    weights.tensors[0].values[0] = 1.5; // the clean step widens the range ...
    method.finish_step(losses(1.1, None), &mut weights);
    assert_eq!(method.plan(), Passes { clean: false, perturbed: 1, attack: false, again: false });
    let stored = method.store(&weights).unwrap();
    let update = method.combine(&[], half(&weights, 1.0, 0.4), &stored, &weights).unwrap();
    assert!(update.gradients.iter().flatten().all(|g| *g == 0.4));
    weights.tensors[0].values[1] = 9.0; // ... and the perturbed one must not
    weights.tensors[0].values[2] = -9.0;
    let least = stored.range("conv.weight").unwrap().0;
    method.finish_step(StepLosses { clean: None, perturbed: Some(3.0) }, &mut weights);
    assert_eq!(weights.tensors[0].values[..3], [1.5, 1.5, least]);
    // The decision is that of both losses: (1.1 + 3.0) / 2 is above T.
    assert_eq!(method.plan(), Passes { clean: true, perturbed: 0, attack: false, again: false });
}

#[test]
fn penalties_and_clipping_come_last() {
    let weights = small();
    let text = "clustering = 0.5\nmax_magnitude = 0.25\ngradient_clip = 0.2";
    let mut method = method(text, &weights);
    let stored = method.store(&weights).unwrap();
    let update = method.combine(&[], half(&weights, 1.0, 0.1), &stored, &weights).unwrap();
    let wanted: f64 = weights.tensors[..4]
        .iter()
        .map(|tensor| {
            let mut unused = vec![0.0; tensor.values.len()];
            let clustering =
                if tensor.is_kernel() { penalty::clustering(0.5, &tensor.values, &mut unused) } else { 0.0 };
            clustering + penalty::max_magnitude(0.25, &tensor.values, &mut unused)
        })
        .sum();
    assert!((update.penalty - wanted).abs() < 1e-9);
    assert!(update.gradients.iter().flatten().all(|g| g.abs() <= 0.2));
    assert!(update.gradients[0].contains(&0.2));
    assert_eq!(update.gradients[4], [0.1], "a PACT range has no penalty");
    assert!(update.gradients[2].iter().all(|g| *g == 0.1), "zeros have no largest magnitude");
}

/// Every kind of state: a method that was saved and restored after each step does what one does that never was.
#[test]
fn a_restored_method_goes_on_as_if_nothing_had_happened() {
    let kernels = "tensors = \"kernels\"\n";
    let tables = [
        RANDBET.to_owned(),
        format!("averaging = {{ }}\n{}", RANDBET.replace("always", "hysteresis")),
        format!(
            "averaging = {{ }}\n{}",
            RANDBET.replace("curriculum = \"always\"", "combination = \"alternating\"\nstart_loss = 50.0")
        ),
        RANDBET.replace("always", "step").replace("rate", "start_loss = 50.0\nrate"),
        format!(
            "{kernels}quantization = {{ family = \"lsq\", bits = 4 }}\nranges = {{ rule = \"learn\" }}\nbit_errors = {{ rate = 0.01 }}"
        ),
        format!("{kernels}quantization = {{ family = \"asymmetric\", rounding = \"stochastic\" }}"),
        "quantization = { family = \"normal\" }\nranges = { rule = \"frozen\" }".to_owned(),
    ];
    for text in tables {
        let (mut unbroken, mut broken) = (small(), small());
        let mut one = method(&text, &unbroken);
        let mut other = one.clone();
        for number in 0..8 {
            if number % 3 == 0 {
                one.begin_epoch(40 + number, 120);
                other.begin_epoch(40 + number, 120);
            }
            let update = step(&mut one, &mut unbroken, number);
            assert_eq!(step(&mut other, &mut broken, number), update, "{text}, step {number}");
            let MethodState { values, tensors } = other.state().unwrap();
            let text_of_values = serde_json::to_string(&values).unwrap();
            let state = MethodState { values: serde_json::from_str(&text_of_values).unwrap(), tensors };
            other = method(&text, &broken);
            other.restore(&state, &broken).unwrap();
            assert_eq!(other.state().unwrap(), one.state().unwrap());
        }
        assert_eq!(unbroken, broken);
        assert_eq!(one.averaged(), other.averaged());
    }
}

#[test]
fn a_state_of_another_method_is_refused() {
    let weights = small();
    let learn =
        "tensors = \"kernels\"\nquantization = { family = \"lsq\", bits = 4 }\nranges = { rule = \"learn\" }";
    let state = method(learn, &weights).state().unwrap();
    for other in [
        "",
        RANDBET,
        "tensors = \"kernels\"\nquantization = { family = \"wcat\" }\nranges = { rule = \"plclip\", c = 1.0 }",
    ] {
        let mut other = method(other, &weights);
        let before = other.state().unwrap();
        let error = other.restore(&state, &weights).unwrap_err();
        assert!(matches!(error, MethodError::State(_)), "{error}");
        assert_eq!(other.state().unwrap(), before);
    }
    let lacks = MethodState { tensors: Vec::new(), ..state };
    let error = method(learn, &weights).restore(&lacks, &weights).unwrap_err().to_string();
    assert!(error.contains("it lacks `ranges`"), "{error}");
}
