//! The page and the table as a user gets them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod samples;

use std::path::Path;

use bitquake_record::{Amount, Overview, PointSummary, RecordError, Results, SummaryOptions, TrialRecord};
use bitquake_report::{ReportInput, TableStyle, html, table, vulnerability_table};
use proptest::prelude::*;

const PLAIN: TableStyle = TableStyle { colour: false, width: None };

fn overview(results: &Results) -> Result<Overview, RecordError> {
    let (golden, campaign) = (results.golden.clone(), results.campaign.clone());
    Overview::of(golden, campaign, &results.trials, SummaryOptions::default())
}

fn points(results: &Results) -> Vec<PointSummary> {
    overview(results).unwrap().points
}

fn page(results: &Results) -> String {
    html(&ReportInput { overview: &overview(results).unwrap(), dir: Path::new("results/x") }).unwrap()
}

fn text_table(results: &Results, style: TableStyle) -> String {
    table(&overview(results).unwrap(), style)
}

/// The plot with this id.
fn plot<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<svg class=\"plot\" role=\"img\" aria-labelledby=\"{id}-title")).unwrap();
    let length = page[start..].find("</svg>").unwrap() + "</svg>".len();
    &page[start..start + length]
}

/// Two rates with four trials each, few enough to check the picture by hand.
fn small() -> Results {
    samples::results("small", &samples::rates(&[1e-5, 1e-4]), 4, 4)
}

#[test]
fn tables() {
    let shown: Vec<String> = samples::all()
        .iter()
        .map(|(name, results)| format!("{name}\n{}", text_table(results, PLAIN)))
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_coloured_table_says_the_same() {
    let results = samples::campaign();
    let coloured = text_table(&results, TableStyle { colour: true, width: None });
    insta::assert_snapshot!(coloured.escape_debug().to_string().replace("\\n", "\n"));
    let codes = ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[0m"];
    let plain = codes.into_iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, text_table(&results, PLAIN));
}

#[test]
fn a_narrow_table_leaves_out_columns_and_says_so() {
    for width in 0..130 {
        let text = text_table(&samples::campaign(), TableStyle { colour: false, width: Some(width) });
        let widest = text.lines().take(9).map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width).max(40), "{width}: {widest}\n{text}");
        assert!(text.contains("accuracy") && text.lines().nth(2).unwrap().contains("golden"));
    }
    insta::assert_snapshot!(text_table(&samples::campaign(), TableStyle { colour: false, width: Some(72) }));
}

#[test]
fn the_accuracy_plot() {
    insta::assert_snapshot!(plot(&page(&small()), "accuracy"));
}

#[test]
fn the_plot_of_corrupted_outputs() {
    insta::assert_snapshot!(plot(&page(&small()), "shares"));
}

#[test]
fn the_plot_of_bit_positions() {
    insta::assert_snapshot!(plot(&page(&small()), "bits"));
}

#[test]
fn where_upsets_do_harm() {
    let results = samples::single_faults();
    let page = page(&results);
    insta::assert_snapshot!("the_heat_map", plot(&page, "heat"));
    insta::assert_snapshot!("the_failure_rates_by_bit", plot(&page, "bit-rates"));
    let text = vulnerability_table(&overview(&results).unwrap()).unwrap();
    insta::assert_snapshot!("the_vulnerability_table", text);
    // Nothing of it appears where no trial has a single fault.
    assert!(vulnerability_table(&overview(&small()).unwrap()).is_none());
    assert!(!self::page(&small()).contains("Where upsets do harm"));
}

#[test]
fn failures_in_time_are_told_when_the_raw_rate_is_known() {
    let results = samples::single_faults();
    let options = SummaryOptions { raw_fit_per_mbit: Some(1000.0), ..SummaryOptions::default() };
    let overview = Overview::of(results.golden, results.campaign, results.trials, options).unwrap();
    let page = html(&ReportInput { overview: &overview, dir: Path::new("x") }).unwrap();
    assert!(page.contains("FIT (failures in 10<sup>9</sup> hours)") && page.contains("MTBF [h]"));
    let text = vulnerability_table(&overview).unwrap();
    assert!(
        text.contains("at 1,000 FIT per Mbit (10^6 bits)") && text.contains("mean time between failures: "),
        "{text}"
    );
}

#[test]
fn models_without_classes_are_told_by_their_distances() {
    let page = page(&samples::distances());
    assert!(page.contains("Share within the threshold against bit error rate"), "figure 1");
    for metric in ["exceeded", "within", "rel_l2", "cosine_worst"] {
        assert!(page.contains(&format!("<code>{metric}</code>")), "{metric}");
    }
    assert!(!page.contains("<code>top5_accuracy</code>"));
}

#[test]
fn every_plot_can_be_heard() {
    let page = page(&samples::campaign());
    for id in ["accuracy", "shares", "bits"] {
        let plot = plot(&page, id);
        assert!(
            plot.contains("role=\"img\"") && plot.contains(&format!("<title id=\"{id}-title\">")),
            "{id}"
        );
        assert!(plot.contains(&format!("<desc id=\"{id}-desc\">")), "{id}");
    }
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    for (name, results) in samples::all() {
        let page = page(&results).to_lowercase();
        for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "onload"]
        {
            assert!(!page.contains(reference), "{name}: {reference}");
        }
    }
}

#[test]
fn numbers_of_the_records_are_on_the_page() {
    let mut results = small();
    results.trials[4..].iter_mut().for_each(|trial| trial.correct = 1300 + trial.trial);
    results.trials[5].correct = 1234;
    results.golden.outputs = "feedc0de".into();
    let page = page(&results);
    let accuracy = points(&results)[1].metric("accuracy").unwrap().clone();
    let (mean, interval) = (accuracy.summary.unwrap().mean, accuracy.interval.unwrap());
    let shown = [
        format!("{:.2}", 100.0 * mean),
        format!("[{:.2}, {:.2}]", 100.0 * interval.lo, 100.0 * interval.hi),
        "61.70 %".into(),
        "1,823 of 2,000".into(),
        "0.2513 nats".into(),
        "feedc0de".into(),
        "ONNX Runtime 1.31.1".into(),
        "bitquake replay results/x --point 1 --trial 1 -o faulty.onnx".into(),
        results.trials[5].pattern.clone(),
        "trials = 4".into(),
    ];
    for text in shown {
        assert!(page.contains(&text), "{text}");
    }
}

#[test]
fn commands_that_replay_are_there_where_there_is_a_model_to_write() {
    let with = |fault: &str| page(&Results { campaign: format!("[fault]\n{fault}"), ..small() });
    let values = with("target = \"activations\"\n");
    assert!(values.contains("Worst trials") && values.contains("no faulty model to write"));
    assert!(!values.contains("bitquake replay"));
    let both = with("target = \"activations\"\nalso = { counts = [1] }\n");
    assert!(both.contains("bitquake replay results/x") && both.contains("part of no model"));
}

#[test]
fn hostile_names_are_only_text() {
    let hostile =
        "</pre></title></style><script>alert(1)</script><img src=x onerror=\"alert(2)\">&{{ 7*7 }}'";
    let mut results = small();
    results.golden.name = hostile.into();
    results.golden.storage.model = hostile.into();
    results.golden.engine.settings = hostile.into();
    results.golden.identity.insert(hostile.into(), hostile.into());
    results.golden.storage.tensors[0].tensor = hostile.into();
    results.golden.storage.tensors[1].format = hostile.into();
    results.trials[0].by_tensor.insert(hostile.into(), 10_000);
    results.trials[0].pattern = hostile.into();
    results.campaign += hostile;
    let overview = overview(&results).unwrap();
    let page = html(&ReportInput { overview: &overview, dir: Path::new(hostile) }).unwrap();
    for markup in ["<script", "<img", "onerror=\"", "49"] {
        let allowed = if markup == "49" { page.contains("{{ 7*7 }}") } else { !page.contains(markup) };
        assert!(allowed, "{markup}");
    }
    assert!(page.contains("&lt;script&gt;"));
    assert_eq!(page.matches("</style>").count(), 1);
    assert_eq!(page.matches("</pre>").count(), 1);
}

#[test]
fn a_stopped_campaign_says_how_far_it_came() {
    let page = page(&samples::partial());
    assert!(page.contains("not finished: 101 of 200 trials so far"));
    assert!(page.contains("1 of 50") && page.contains("0 of 50"));
}

#[test]
fn equal_trials_come_with_a_caution() {
    let page = page(&samples::flat());
    assert!(page.contains("At rate 10⁻⁹ and rate 10⁻⁸ all trials have the same accuracy"));
    // Without faults there is nothing to be cautious about.
    let fault_free = samples::results("zero", &samples::rates(&[0.0]), 5, 5);
    assert!(!self::page(&fault_free).contains("same accuracy, so"));
}

#[test]
fn only_some_dots_of_very_many_trials_are_drawn() {
    let page = page(&samples::many_trials());
    let most = plot(&page, "accuracy")
        .lines()
        .filter(|line| line.starts_with("<path class=\"trials\""))
        .map(|line| line.matches("h0").count())
        .max();
    assert_eq!(most, Some(500));
    assert!(page.contains("more than 500 trials"));
}

#[test]
fn the_worst_trial_of_all_is_marked_once() {
    let page = page(&samples::campaign());
    assert_eq!(page.matches("worst of all").count(), 1);
}

#[test]
fn many_tensors_are_summed_up() {
    let mut results = small();
    let tensor = results.golden.storage.tensors[0].clone();
    let more =
        (0..100).map(|n| bitquake_record::SpaceTensorRecord { tensor: format!("t{n}"), ..tensor.clone() });
    results.golden.storage.tensors.extend(more);
    let known = results.golden.storage.tensors.len();
    assert!(page(&results).contains(&format!("{} others", known - 30)));
}

prop_compose! {
    fn any_trial()(
        (point, trial, rate, count) in (0..5_u32, any::<u64>(), any::<Option<f64>>(), any::<Option<u64>>()),
        numbers in any::<[u64; 11]>(),
        loss in any::<Option<f32>>(),
        by_bit in prop::collection::btree_map(any::<u32>(), any::<u64>(), 0..4),
        by_tensor in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..4),
        pattern in any::<String>(),
    ) -> TrialRecord {
        let [
            faults, images, correct, top5_correct, golden_mismatch, nonfinite, err_union, due, to_one, became_nan,
            became_inf,
        ] = numbers;
        TrialRecord {
            point, trial, rate, count, faults, images, correct, top5_correct, golden_mismatch, nonfinite,
            err_union, due, loss: loss.map(f64::from), to_one, became_nan, became_inf, by_bit,
            by_tensor, pattern, ..TrialRecord::default()
        }
    }
}

fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        any::<f64>().prop_map(Amount::Rate),
        (0.0..=1.0_f64).prop_map(Amount::Rate),
        Just(Amount::Rate(0.0)),
        any::<u64>().prop_map(Amount::Count),
        (0..100_u64).prop_map(Amount::Count),
        any::<f64>().prop_map(Amount::Fraction),
        any::<f64>().prop_map(Amount::Voltage),
    ]
}

prop_compose! {
    fn any_results()(
        amounts in prop::collection::vec(any_amount(), 0..5),
        trials in prop::collection::vec(any_trial(), 0..12),
        (name, campaign, format) in (any::<String>(), any::<String>(), any::<String>()),
        (images, correct, bits) in any::<(u64, u64, u64)>(),
        expected in any::<f64>(),
    ) -> Results {
        let mut results = samples::results(&name, &amounts, 3, 0);
        results.trials = trials;
        results.campaign = campaign;
        let golden = &mut results.golden;
        (golden.metrics.images, golden.metrics.correct) = (images, correct);
        golden.points.iter_mut().for_each(|plan| plan.expected_faults = Some(expected));
        golden.storage.bits = bits;
        golden.storage.tensors[0].bits = bits;
        golden.storage.tensors[1].format = format;
        results
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_recorded_can_be_shown(results in any_results(), width in any::<Option<u16>>()) {
        // Losses beyond what a standard deviation can hold are refused before.
        if let Ok(overview) = overview(&results) {
            let page = html(&ReportInput { overview: &overview, dir: Path::new("") });
            prop_assert!(page.unwrap().ends_with("</html>"));
            let text = table(&overview, TableStyle { colour: true, width });
            prop_assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn coordinates_are_always_numbers(results in any_results()) {
        if let Ok(overview) = overview(&results) {
            let page = html(&ReportInput { overview: &overview, dir: Path::new("") }).unwrap();
            for attribute in ["x=\"", "y=\"", "width=\"", "height=\"", "points=\"", "d=\"M"] {
                for text in page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                    prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{attribute}{text}");
                }
            }
        }
    }
}

#[test]
fn what_the_memory_and_its_protections_did_is_on_the_page() {
    let page = page(&samples::protected());
    assert!(
        page.contains("memory: <bdi>symmetric, 8 bits; secded over 64 bits</bdi>")
            && page.contains("66,176 bits")
    );
    assert!(page.contains("code words whose faults were corrected (CE)"));
    assert!(!crate::page(&small()).contains("code words whose faults were corrected"));
}

/// Means over trials that all have a fault must not be read as means over all trials.
#[test]
fn a_conditioned_campaign_says_so() {
    let page = page(&samples::conditioned());
    assert!(page.contains("Every trial was drawn with at least one fault"));
    assert!(page.contains("2.13e-4 at rate 10⁻¹⁰") && page.contains("over all trials."));
    assert!(!page.contains("Mean accuracy stays within"));
}

#[test]
fn a_lower_voltage_brings_more_faults() {
    let page = page(&samples::voltages());
    assert!(page.contains("mean within the margin down to") && page.contains("supply voltage"));
    assert!(!page.contains("highest, 0.8"));
}
